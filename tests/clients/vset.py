"""What the documentation of Redis' vector sets shows, through redis-py's typed commands: vset.py SOCKET. In RESP2 and RESP3.

redis-py has them from version 6 on; with an older one this says so and has nothing to check (transcript.py has every command
raw). Ends with 1 when an answer is another."""
import sys

import redis

if not hasattr(redis.Redis, 'vset'):
    print('redis-py %s has no vset(): its raw commands alone are checked' % redis.__version__)
    sys.exit(0)

from redis.commands.vectorset.commands import QuantizationOptions   # noqa: E402 (there is no such module in older versions)


def near(got, wanted, by=0.001):
    assert len(got) == len(wanted) and all(abs(a - b) < by for a, b in zip(got, wanted)), (got, wanted)


def points(v, client):
    corners = {'pt:A': [1.0, 1.0], 'pt:B': [-1.0, -1.0], 'pt:C': [-1.0, 1.0], 'pt:D': [1.0, -1.0], 'pt:E': [1.0, 0]}
    for name, vector in corners.items():
        assert v.vadd('points', vector, name) == 1
    assert client.type('points') == 'vectorset'
    assert v.vcard('points') == 5 and v.vdim('points') == 2
    for name, vector in corners.items():
        near(v.vemb('points', name), vector)
    about = {'name': 'Point A', 'description': 'First point added'}
    assert v.vsetattr('points', 'pt:A', about) == 1
    assert v.vgetattr('points', 'pt:A') == about
    assert v.vsetattr('points', 'pt:A', '') == 1
    assert v.vgetattr('points', 'pt:A') is None
    assert v.vadd('points', [0, 0], 'pt:F') == 1 and v.vcard('points') == 6
    assert v.vrem('points', 'pt:F') == 1 and v.vcard('points') == 5
    assert v.vsim('points', [0.9, 0.1]) == ['pt:E', 'pt:A', 'pt:D', 'pt:C', 'pt:B']
    scores = v.vsim('points', 'pt:A', with_scores=True, count=4)
    assert list(scores) == ['pt:A', 'pt:E', 'pt:C', 'pt:D'], scores
    near(list(scores.values()), [1, 0.8535534143447876, 0.5, 0.5])
    assert scores['pt:A'] == 1
    wares = {'A': ('large', 18.99), 'B': ('large', 35.99), 'C': ('large', 25.99), 'D': ('small', 21.0), 'E': ('small', 17.75)}
    for name, (size, price) in wares.items():
        assert v.vsetattr('points', 'pt:' + name, {'size': size, 'price': price}) == 1
    assert v.vsim('points', 'pt:A', filter='.size == "large"') == ['pt:A', 'pt:C', 'pt:B']
    assert v.vsim('points', 'pt:A', filter='.size == "large" && .price > 20.00') == ['pt:C', 'pt:B']
    assert v.vsim('points', 'pt:A', filter='.price > 20', filter_ef=500, ef=100, count=1, truth=True, no_thread=True) == ['pt:C']
    assert v.vlinks('points', 'pt:A') == [['pt:E', 'pt:C', 'pt:D', 'pt:B']]
    links = v.vlinks('points', 'pt:A', with_scores=True)
    near([links[0]['pt:E'], links[0]['pt:B']], [0.8535534143447876, 0])
    info = v.vinfo('points')
    assert info['quant-type'] == 'int8' and info['vector-dim'] == 2 and info['size'] == 5 and info['max-level'] == 0, info


def codes(v):
    vector = [1.262185, 1.958231]
    for key, option, wanted in (('q8', QuantizationOptions.Q8, [1.2643694877624512, 1.958230972290039]),
                                ('noq', QuantizationOptions.NOQUANT, [1.262184977531433, 1.958230972290039]),
                                ('bin', QuantizationOptions.BIN, [1, 1])):
        assert v.vadd(key, vector, 'quantElement', quantization=option) == 1
        near(v.vemb(key, 'quantElement'), wanted, 0.003)
        assert v.vemb(key, 'quantElement', raw=True)['quantization'] == {'q8': 'int8', 'noq': 'f32'}.get(key, 'bin')
    values = [x / 299 for x in range(300)]
    assert v.vadd('setNotReduced', values, 'element') == 1 and v.vdim('setNotReduced') == 300
    assert v.vadd('setReduced', values, 'element', reduce_dim=100) == 1 and v.vdim('setReduced') == 100
    assert v.vadd('all', [1, 2], 'e', cas=True, quantization=QuantizationOptions.Q8, ef=200, attributes={'n': 1}, numlinks=16) == 1
    assert v.vgetattr('all', 'e') == {'n': 1}


def random(v):
    for i, vector in enumerate(([1, 0, 0], [0, 1, 0], [0, 0, 1]), 1):
        assert v.vadd('vset', vector, 'elem%d' % i) == 1
    known = ['elem1', 'elem2', 'elem3']
    assert v.vrandmember('vset') in known
    assert len(set(v.vrandmember('vset', 2))) == 2
    assert len(v.vrandmember('vset', -3)) == 3
    assert sorted(v.vrandmember('vset', 10)) == known
    assert v.vrandmember('nonexistent') is None
    assert v.vrandmember('nonexistent', 3) == []


for protocol in (2, 3):
    connection = redis.Redis(unix_socket_path=sys.argv[1], protocol=protocol, decode_responses=True)
    connection.flushall()
    points(connection.vset(), connection)
    codes(connection.vset())
    random(connection.vset())
    print('the documentation by redis-py %s in RESP%d: as documented' % (redis.__version__, protocol))
