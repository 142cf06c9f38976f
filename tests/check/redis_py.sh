#!/bin/bash
# redis-py, as Debian ships it, against a real server: connecting, INFO, raw commands, a pipeline, errors, a binary id,
# transactions, publish and subscribe, keyspace events.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/check_server.sh
need_server
need_redis_py
start_server
"$python" - "$dir/s" <<'PY'
import struct, sys, time
import redis

def vector(*x):
    return struct.pack('<%df' % len(x), *x)

r = redis.Redis(unix_socket_path=sys.argv[1])
assert r.info('server')['redis_version'] == '7.2.4'
assert r.execute_command('VPARTITION', 'CREATE', 'py', 'DIM', 3, 'METRIC', 'L2') in (b'OK', 'OK')
odd = b'\x00K\r\nEF\xff'
assert r.execute_command('VADD', 'py', 'FP32', vector(1, 0, 0), odd, 'SETATTR', '{"n":1}') == 1
with r.pipeline(transaction=False) as p:
    for i in range(100):
        p.execute_command('VADD', 'py', 'FP32', vector(0, i, 0), 'e%d' % i)
    p.execute_command('VSEARCH', 'py', 'FP32', vector(0, 41.9, 0), 'K', 2)
    p.execute_command('VDEL', 'py', 'e42')
    p.execute_command('VSEARCH', 'py', 'FP32', vector(0, 41.9, 0), 'K', 2, 'WITHSCORES')
    replies = p.execute()
assert replies[:100] == [1] * 100
assert replies[100] == [b'e42', b'e41'], replies[100]
assert replies[101] == 1
assert replies[102][::2] == [b'e41', b'e43'], replies[102]
assert abs(float(replies[102][1]) - 0.9) < 1e-5
assert r.execute_command('VSEARCH', 'py', 'ELE', odd, 'K', 1) == [odd]
assert r.execute_command('VGETATTR', 'py', odd) == b'{"n":1}'
assert r.execute_command('VCARD', 'py') == 100
try:
    r.execute_command('VADD', 'py', 'FP32', vector(1, 2), 'x')
    raise AssertionError('a wrong dimension was taken')
except redis.ResponseError as e:
    assert 'dimension mismatch - got 2 but set has 3' in str(e), e
assert r.type('py') == b'vectorset' and r.delete('py') == 1 and r.dbsize() == 0
assert [k for k in r.scan_iter('*')] == []

# transactions: WATCH, a change, a retry; what redis-py's own helper does
r.execute_command('VADD', 'tx', 'FP32', vector(1, 0), 'a')
with r.pipeline() as p:
    p.watch('tx')
    r.execute_command('VADD', 'tx', 'FP32', vector(0, 1), 'b')
    p.multi()
    p.execute_command('VCARD', 'tx')
    try:
        p.execute()
        raise AssertionError('a watched key had changed')
    except redis.WatchError:
        pass
    p.watch('tx')
    p.multi()
    p.execute_command('VADD', 'tx', 'FP32', vector(1, 1), 'c')
    p.execute_command('VSEARCH', 'tx', 'FP32', vector(1, 1), 'K', 1)
    p.execute_command('VREM', 'tx', 'c')
    p.execute_command('VSEARCH', 'tx', 'FP32', vector(1, 1), 'K', 5)
    added, found, removed, rest = p.execute()
    assert (added, found, removed) == (1, [b'c'], 1) and sorted(rest) == [b'a', b'b']
with r.pipeline() as p:                     # MULTI and EXEC around what is pipelined
    p.execute_command('VADD', 'tx', 'FP32', vector(1, 2, 3), 'wrong')
    p.execute_command('VCARD', 'tx')
    failed, card = p.execute(raise_on_error=False)
    assert isinstance(failed, redis.ResponseError) and card == 2
assert r.transaction(lambda p: (p.multi(), p.delete('tx')), 'tx') == [1]

# publish and subscribe, and events
def next_message(sub):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        m = sub.get_message(timeout=1)
        if m:
            return m
    raise AssertionError('no message came')

r.config_set('notify-keyspace-events', 'KEA')
with r.pubsub() as sub:
    sub.subscribe('news')
    sub.psubscribe('__keyevent@0__:*')
    assert next_message(sub)['type'] == 'subscribe'
    assert next_message(sub)['type'] == 'psubscribe'
    assert r.publish('news', 'hello') == 1
    m = next_message(sub)
    assert (m['type'], m['channel'], m['data']) == ('message', b'news', b'hello'), m
    r.execute_command('VADD', 'ev', 'FP32', vector(1, 0), 'a')
    m = next_message(sub)
    assert (m['type'], m['channel'], m['data']) == ('pmessage', b'__keyevent@0__:vadd', b'ev'), m
    assert r.pubsub_channels() == [b'news'] and r.pubsub_numpat() == 1
    assert r.pubsub_numsub('news', 'old') == [(b'news', 1), (b'old', 0)]
    sub.unsubscribe()
    assert next_message(sub)['type'] == 'unsubscribe'
    sub.ping('still there')
    assert next_message(sub)['data'] == b'still there'
r.config_set('notify-keyspace-events', '')
r.delete('ev')
PY
