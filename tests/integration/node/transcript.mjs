// Replays tests/clients/vector_sets.txt through node-redis' raw commands against a server at a unix socket, and compares the values
// of every reply: transcript.mjs SOCKET 2|3 FILE. The rules of the file stand at its top.
import { readFileSync } from 'node:fs';
import { createClient, RESP_TYPES } from 'redis';

const [socket, protocol, path] = process.argv.slice(2);

// A command's arguments, by redis-cli's quoting.
function split(line) {
    const escapes = { n: 10, r: 13, t: 9, b: 8, a: 7 };
    const args = [];
    for (let i = 0; i < line.length; i++) {
        if (line[i] === ' ')
            continue;
        const quote = line[i] === '"' || line[i] === "'" ? line[i++] : '';
        const bytes = [];
        for (; i < line.length && line[i] !== (quote || ' '); i++) {
            if (quote === '"' && line[i] === '\\') {
                i++;
                if (line[i] === 'x') {
                    bytes.push(parseInt(line.slice(i + 1, i + 3), 16));
                    i += 2;
                } else {
                    bytes.push(escapes[line[i]] ?? line.charCodeAt(i));
                }
            } else {
                bytes.push(line.charCodeAt(i));
            }
        }
        args.push(Buffer.from(bytes));
    }
    return args;
}

function examples() {
    const found = [];
    readFileSync(path, 'utf8').split('\n').forEach((line, i) => {
        if (/^[>*] /.test(line))
            found.push({ at: i + 1, anyOrder: line[0] === '*', command: line.slice(2), lines: [] });
        else if (/^[23]\|/.test(line)) {
            if (line[0] === protocol)
                found.at(-1).lines.push(line.slice(2));
        } else if (line && line[0] !== '#')
            found.at(-1).lines.push(line);
    });
    return found;
}

// The values of what redis-cli prints, without its numbering, quotes and types.
function leaves(lines) {
    const number = /^ *(\d+[)#] +)+/;
    return lines.flatMap(line => line.replace(number, '').split(/ => | =>$/)).filter(part => part).map(part => {
        part = part.replace(number, '').replace(/^\((integer|double)\) /, '');
        return part[0] === '"' ? part.slice(1, -1) : part;
    });
}

// Bytes as redis-cli shows them, without the quotes.
function shown(bytes) {
    const names = { 34: '\\"', 92: '\\\\', 10: '\\n', 13: '\\r', 9: '\\t', 7: '\\a', 8: '\\b' };
    return [...bytes].map(c => names[c] ?? (c >= 32 && c < 127 ? String.fromCharCode(c) : '\\x' + c.toString(16).padStart(2, '0'))).join('');
}

function flat(value) {
    if (value === null)
        return ['(nil)'];
    if (value === true || value === false)
        return [`(${value})`];
    if (Buffer.isBuffer(value))
        return [shown(value)];
    if (value instanceof Map)
        return [...value].flatMap(pair => pair.flatMap(flat));
    if (Array.isArray(value))
        return value.length ? value.flatMap(flat) : ['(empty array)'];
    return [String(value)];
}

function leafSame(expected, got) {
    if (expected[0] === '~')
        return got !== '' && Math.abs(Number(expected.slice(1)) - Number(got)) <= 0.005;
    if (expected[0] === '?')
        return expected === '?' || expected.slice(1).split('|').includes(got);
    return expected === got;
}

function same(expected, got, anyOrder) {
    if (anyOrder) {
        expected.sort();
        got.sort();
    }
    if (expected.at(-1) === '...') {
        expected.pop();
        got.length = Math.min(got.length, expected.length);
    }
    return expected.length === got.length && expected.every((leaf, i) => leafSame(leaf, got[i]));
}

const client = createClient({
    socket: { path: socket, reconnectStrategy: false },
    RESP: Number(protocol),
    commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer, [RESP_TYPES.MAP]: Map } },
});
client.on('error', error => { console.error(error); process.exit(1); });
await client.connect();
const all = examples();
for (const { at, anyOrder, command, lines } of all) {
    let got;
    try {
        got = flat(await client.sendCommand(split(command)));
    } catch (error) {
        got = ['(error) ' + error.message];
    }
    const expected = leaves(lines);
    if (!same(expected, got, anyOrder)) {
        console.error(`${path}:${at} (node, RESP${protocol}): ${command}\nexpected:\n  ${expected.join('\n  ')}\nreply:\n  ${got.join('\n  ')}`);
        process.exit(1);
    }
}
console.log(`${all.length} examples by node in RESP${protocol}: as documented`);
await client.close();
