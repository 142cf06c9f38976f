"""Replays vector_sets.txt against a server at a unix socket and compares every reply.

    transcript.py cli SOCKET 2|3 FILE     through redis-cli: what it prints, line by line
    transcript.py py SOCKET 2|3 FILE      through redis-py's raw commands: the values, in their order

RESP3 through redis-py takes version 5 or later. Ends with 1 at the first reply that is another."""
import re
import subprocess
import sys

ESCAPES = {'n': 10, 'r': 13, 't': 9, 'b': 8, 'a': 7}


def split(line):
    """A command's arguments, by redis-cli's quoting."""
    out, i = [], 0
    while i < len(line):
        if line[i] == ' ':
            i += 1
            continue
        arg, quote = bytearray(), None
        if line[i] in '"\'':
            quote = line[i]
            i += 1
        while i < len(line) and line[i] != (quote or ' '):
            if quote == '"' and line[i] == '\\':
                i += 1
                if line[i] == 'x':
                    arg.append(int(line[i + 1:i + 3], 16))
                    i += 2
                else:
                    arg.append(ESCAPES.get(line[i], ord(line[i])))
            elif quote == "'" and line[i:i + 2] == "\\'":
                i += 1
                arg += b"'"
            else:
                arg += line[i].encode()
            i += 1
        i += quote is not None
        out.append(bytes(arg))
    return out


def examples(path, protocol):
    """(line number, any order, command, expected lines) of each example."""
    found = []
    for number, line in enumerate(open(path, encoding='utf-8'), 1):
        line = line.rstrip('\n')
        if line[:2] in ('> ', '* '):
            found.append((number, line[0] == '*', line[2:], []))
        elif line[:2] in ('2|', '3|'):
            if line[0] == protocol:
                found[-1][3].append(line[2:])
        elif line and not line.startswith('#'):
            found[-1][3].append(line)
    return found


def leaf_same(expected, got):
    pattern = re.fullmatch(r'((?: *\d+[)#] +)*(?:"[^"]*" => |[\w-]+ => )?(?:\(\w+\) )?"?)([~?])(.*?)("?)', expected)
    if not pattern:
        return expected == got
    before, kind, wanted, after = pattern.groups()
    if not got.startswith(before) or not got.endswith(after):
        return False
    value = got[len(before):len(got) - len(after)]
    if kind == '~':
        return abs(float(value) - float(wanted)) <= 0.005
    return not wanted or value in wanted.split('|')


def same(expected, got, any_order):
    if any_order:
        expected, got = (sorted(re.sub(r'^ *\d+\) ', '', line) for line in lines) for lines in (expected, got))
    if expected and expected[-1] == '...':
        expected = expected[:-1]
        got = got[:len(expected)]
    return len(expected) == len(got) and all(map(leaf_same, expected, got))


def by_cli(socket, protocol):
    def send(command):
        done = subprocess.run(['redis-cli', '-s', socket, '-' + protocol, '--no-raw'], input=command.encode() + b'\n',
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        lines = [line.rstrip() for line in done.stdout.decode().split('\n')]
        while lines and not lines[-1]:
            lines.pop()
        return lines
    return send, lambda lines: lines


def leaves(lines):
    """The values of what redis-cli prints, without its numbering: quoted, or what stands behind (integer) and (double)."""
    out = []
    for line in lines:
        for part in re.split(' => | =>$', re.sub(r'^ *(\d+[)#] +)+', '', line)):
            part = re.sub(r'^(\d+[)#] +)+', '', part)
            part = re.sub(r'^\((integer|double)\) ', '', part)
            if part:
                out.append(part[1:-1] if part[:1] == '"' else part)
    return out


def shown(data):
    """Bytes as redis-cli shows them, without the quotes."""
    names = {34: '\\"', 92: '\\\\', 10: '\\n', 13: '\\r', 9: '\\t', 7: '\\a', 8: '\\b'}
    return ''.join(names.get(c) or (chr(c) if 32 <= c < 127 else '\\x%02x' % c) for c in data)


def flat(value):
    if isinstance(value, dict):
        return [leaf for pair in value.items() for part in pair for leaf in flat(part)]
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in flat(part)] or ['(empty array)']
    if value is None:
        return ['(nil)']
    if isinstance(value, bool):
        return ['(true)' if value else '(false)']
    if isinstance(value, float):
        return [repr(value) if value != int(value) else str(int(value))]
    return [shown(value) if isinstance(value, bytes) else str(value)]


def by_redis_py(socket, protocol):
    import redis
    options = {'protocol': int(protocol)} if int(redis.__version__.split('.')[0]) >= 5 else {}
    client = redis.Redis(unix_socket_path=socket, **options)
    client.response_callbacks.clear()       # what the server said, not what a callback makes of it

    def send(command):
        try:
            return flat(client.execute_command(*split(command)))
        except redis.ResponseError as error:
            text = str(error)
            return ['(error) ' + (text if text.startswith('ERR ') else 'ERR ' + text)]
    return send, leaves


def main():
    kind, socket, protocol, path = sys.argv[1:]
    send, wanted = (by_cli if kind == 'cli' else by_redis_py)(socket, protocol)
    number = 0
    for number, (at, any_order, command, lines) in enumerate(examples(path, protocol), 1):
        expected, got = wanted(lines), send(command)
        if not same(expected, got, any_order):
            sys.exit('%s:%d (%s, RESP%s): %s\nexpected:\n  %s\nreply:\n  %s' %
                     (path, at, kind, protocol, command, '\n  '.join(expected), '\n  '.join(got)))
    print('%d examples by %s in RESP%s: as documented' % (number, kind, protocol))


main()
