#!/bin/bash
# The program of docs/semantic-cache.md against a real server: it prints what the page says. Then its cache under a limit of memory:
# the limit holds, the entry that is asked for stays, entries that nobody asks for go.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/check_server.sh
page=docs/semantic-cache.md
need_server
need_redis_py

sed -n '/^<!-- example:begin -->$/,/^<!-- example:end -->$/p' $page | sed '/^<!--/d; /^```/d' > "$dir/semantic_cache.py"
sed -n '/^    \$ python3 semantic_cache.py /,/^$/p' $page | sed '1d; /^$/d; s/^    //' > "$dir/said"
if [ ! -s "$dir/semantic_cache.py" ] || [ ! -s "$dir/said" ]; then
    echo "$page has no program between its example marks, or does not say what it prints" >&2
    exit 1
fi
start_server
"$python" "$dir/semantic_cache.py" "unix://$dir/s" > "$dir/printed"
diff "$dir/said" "$dir/printed"

"$python" - "$dir" <<'PY'
import random
import struct
import sys

import redis

sys.path.insert(0, sys.argv[1])
from semantic_cache import DIM, SemanticCache

client = redis.Redis(unix_socket_path=sys.argv[1] + '/s')
client.flushall()
limit = client.info('memory')['used_memory'] + (16 << 20)
client.config_set('maxmemory-policy', 'allkeys-lru')
client.config_set('maxmemory', limit)
cache = SemanticCache(client)
cache.put('small', 'How do I reset my password?', 'so')
random.seed(7)
entries, most = 0, 0
while entries < 16000:
    with client.pipeline(transaction=False) as many:
        for entries in range(entries + 1, entries + 101):
            vector = struct.pack('<%df' % DIM, *(random.gauss(0, 1) for _ in range(DIM)))
            many.execute_command('VADD', 'cache', 'FP32', vector, 'entry:%d' % entries, 'SETATTR', '{"model":"small","answer":"?"}', 'EX', 3600)
        many.execute()
    assert cache.get('small', 'how do I reset my password') == 'so', 'what is used has gone, after %d entries' % entries
    memory = client.info('memory')
    most = max(most, memory['used_memory'] - memory['mem_not_counted_for_evict'])
gone = client.info('stats')['evicted_elements']
left = client.execute_command('VCARD', 'cache')
old = sum(client.execute_command('VISMEMBER', 'cache', 'entry:%d' % i) for i in range(1, 1001))
new = sum(client.execute_command('VISMEMBER', 'cache', 'entry:%d' % i) for i in range(entries - 999, entries + 1))
print('%d entries, %d evicted, %d left, %d of the first and %d of the last thousand; at most %.1f %% of the limit' %
      (entries, gone, left, old, new, 100 * most / limit))
assert gone > 1000 and left == entries + 1 - gone, 'entries were to go one by one'
assert most <= limit * 1.02, 'over the limit'
assert old < 200 and new > 800, 'the oldest were to go first'
PY
