// What the documentation of Redis' vector sets shows, through the typed commands of the pinned node-redis client, in RESP3 and in
// RESP2: vector_sets.mjs SOCKET. Exits with 1 and the difference when an answer is another. (transcript.mjs has every command raw.)
import assert from 'node:assert/strict';
import { createClient } from 'redis';

const near = (got, wanted) => assert.ok(Math.abs(got - wanted) < 0.001, `${got} is not near ${wanted}`);
const allNear = (got, wanted) => {
    assert.equal(got.length, wanted.length);
    wanted.forEach((x, i) => near(got[i], x));
};

async function points(client, version) {
    const corners = { A: [1, 1], B: [-1, -1], C: [-1, 1], D: [1, -1], E: [1, 0] };
    for (const [name, vector] of Object.entries(corners))
        assert.equal(await client.vAdd('points', vector, `pt:${name}`), true);
    assert.equal(await client.type('points'), 'vectorset');
    assert.equal(await client.vCard('points'), 5);
    assert.equal(await client.vDim('points'), 2);
    for (const [name, vector] of Object.entries(corners))
        allNear(await client.vEmb('points', `pt:${name}`), vector);
    assert.deepEqual(await client.vEmb('points', 'pt:E'), [1, 0]);

    const about = { name: 'Point A', description: 'First point added' };
    assert.equal(await client.vSetAttr('points', 'pt:A', about), true);
    assert.deepEqual(await client.vGetAttr('points', 'pt:A'), about);
    assert.equal(await client.vSetAttr('points', 'pt:A', ''), true);
    assert.equal(await client.vGetAttr('points', 'pt:A'), null);

    assert.equal(await client.vAdd('points', [0, 0], 'pt:F'), true);
    assert.equal(await client.vCard('points'), 6);
    assert.equal(await client.vRem('points', 'pt:F'), true);
    assert.equal(await client.vCard('points'), 5);

    assert.deepEqual(await client.vSim('points', [0.9, 0.1]), ['pt:E', 'pt:A', 'pt:D', 'pt:C', 'pt:B']);
    const scores = await client.vSimWithScores('points', 'pt:A', { COUNT: 4 });
    assert.deepEqual(Object.keys(scores), ['pt:A', 'pt:E', 'pt:C', 'pt:D']);
    assert.equal(scores['pt:A'], 1);
    near(scores['pt:E'], 0.8535534143447876);
    assert.equal(scores['pt:C'], 0.5);
    assert.equal(scores['pt:D'], 0.5);

    const wares = { A: ['large', 18.99], B: ['large', 35.99], C: ['large', 25.99], D: ['small', 21], E: ['small', 17.75] };
    for (const [name, [size, price]] of Object.entries(wares))
        assert.equal(await client.vSetAttr('points', `pt:${name}`, { size, price }), true);
    assert.deepEqual(await client.vSim('points', 'pt:A', { FILTER: '.size == "large"' }), ['pt:A', 'pt:C', 'pt:B']);
    assert.deepEqual(await client.vSim('points', 'pt:A', { FILTER: '.size == "large" && .price > 20.00' }), ['pt:C', 'pt:B']);
    assert.deepEqual(await client.vSim('points', 'pt:A', { FILTER: '.price > 20.00', 'FILTER-EF': 500, COUNT: 1 }), ['pt:C']);
    assert.deepEqual(await client.vSim('points', 'pt:A', { EPSILON: 0.2, EF: 100, TRUTH: true, NOTHREAD: true }), ['pt:A', 'pt:E']);

    assert.deepEqual(await client.vLinks('points', 'pt:A'), [['pt:E', 'pt:C', 'pt:D', 'pt:B']]);
    const [links] = await client.vLinksWithScores('points', 'pt:A');
    near(links['pt:E'], 0.8535534143447876);
    assert.equal(links['pt:C'], 0.5);
    assert.equal(links['pt:B'], 0);
    const info = await client.vInfo('points');
    assert.equal(info['quant-type'], 'int8');
    assert.equal(info['vector-dim'], 2);
    assert.equal(info.size, 5);
    assert.equal(info['max-level'], 0);
    assert.equal(typeof info['vset-uid'], 'number');
    assert.ok(info['hnsw-max-node-uid'] >= 5);
    const bool = yes => version === 3 ? yes : Number(yes);      // raw: the client has no typed VISMEMBER and VRANGE yet
    assert.equal(await client.sendCommand(['VISMEMBER', 'points', 'pt:A']), bool(true));
    assert.equal(await client.sendCommand(['VISMEMBER', 'points', 'pt:Z']), bool(false));
    assert.deepEqual(await client.sendCommand(['VRANGE', 'points', '[pt:B', '+', '2']), ['pt:B', 'pt:C']);
}

async function codes(client) {
    const vector = [1.262185, 1.958231];
    for (const [key, QUANT, wanted, raw] of [['q8', 'Q8', [1.2643694877624512, 1.958230972290039], 'int8'],
        ['noq', 'NOQUANT', [1.262184977531433, 1.958230972290039], 'f32'], ['bin', 'BIN', [1, 1], 'bin']]) {
        assert.equal(await client.vAdd(key, vector, 'quantElement', { QUANT }), true);
        const got = await client.vEmb(key, 'quantElement');
        wanted.forEach((x, i) => assert.ok(Math.abs(got[i] - x) < 0.003, `${key}: ${got}`));
        const code = await client.vEmbRaw(key, 'quantElement');
        assert.equal(code.quantization, raw);
        near(code.l2Norm, 2.32975959);
    }
    const values = Array.from({ length: 300 }, (_, i) => i / 299);
    assert.equal(await client.vAdd('setNotReduced', values, 'element'), true);
    assert.equal(await client.vDim('setNotReduced'), 300);
    assert.equal(await client.vAdd('setReduced', values, 'element', { REDUCE: 100 }), true);
    assert.equal(await client.vDim('setReduced'), 100);
    assert.deepEqual(await client.vSim('setReduced', values), ['element']);
    assert.equal(await client.vAdd('all', [1, 2], 'e', { CAS: true, QUANT: 'Q8', EF: 200, SETATTR: { year: 1950 }, M: 16 }), true);
    assert.deepEqual(await client.vGetAttr('all', 'e'), { year: 1950 });
}

async function random(client) {
    for (const [i, vector] of [[1, 0, 0], [0, 1, 0], [0, 0, 1]].entries())
        await client.vAdd('vset', vector, `elem${i + 1}`);
    const known = ['elem1', 'elem2', 'elem3'];
    assert.ok(known.includes(await client.vRandMember('vset')));
    const two = await client.vRandMember('vset', 2);
    assert.equal(new Set(two).size, 2);
    const three = await client.vRandMember('vset', -3);
    assert.equal(three.length, 3);
    assert.ok([...two, ...three].every(id => known.includes(id)));
    assert.deepEqual((await client.vRandMember('vset', 10)).sort(), known);
    assert.equal(await client.vRandMember('nonexistent'), null);
    assert.deepEqual(await client.vRandMember('nonexistent', 3), []);
}

// Among thousands of words, ten have 33 letters: a filter finds all of them.
async function rare(client) {
    const adds = [];
    for (let i = 0; i < 4000; i++) {
        const angle = i / 1000;
        adds.push(client.vAdd('words', [Math.cos(angle), Math.sin(angle)], `w${i}`, { SETATTR: { len: i % 400 === 7 ? 33 : i % 20 } }));
    }
    await Promise.all(adds);
    assert.equal((await client.vSim('words', 'w0', { FILTER: '.len == 6' })).length, 10);
    const wanted = Array.from({ length: 10 }, (_, i) => `w${7 + 400 * i}`);
    assert.deepEqual((await client.vSim('words', 'w0', { FILTER: '.len == 33', 'FILTER-EF': 10000 })).sort(), [...wanted].sort());
    assert.deepEqual((await client.vSim('words', 'w0', { FILTER: '.len == 33' })).sort(), [...wanted].sort());
}

for (const version of [2, 3]) {
    const client = createClient({ socket: { path: process.argv[2], reconnectStrategy: false }, RESP: version });
    client.on('error', error => { console.error(error); process.exit(1); });
    await client.connect();
    await client.flushAll();
    await points(client, version);
    await codes(client);
    await random(client);
    await rare(client);
    console.log(`the documentation by node's typed commands in RESP${version}: as documented`);
    await client.close();
}
