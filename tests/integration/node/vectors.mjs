// The pinned node-redis client against a server on the port given: the typed vector-set commands, and ours as raw commands, in
// RESP3 and in RESP2. Exits with 1 and the difference when an answer is another.
import assert from 'node:assert/strict';
import { createClient, RESP_TYPES } from 'redis';

const port = Number(process.argv[2]);

async function connect(version) {
    const client = createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: false }, RESP: version });
    client.on('error', error => { console.error(error); process.exit(1); });
    return client.connect();
}

async function typed(client, version) {
    await client.flushAll();
    assert.equal(await client.vAdd('k', [1, 0, 0], 'a', { QUANT: 'Q8', EF: 100, M: 16, CAS: true, SETATTR: { n: 1 } }), true);
    assert.equal(await client.vAdd('k', [1, 0, 0], 'a'), false);
    assert.equal(await client.vAdd('k', [0, 1, 0], 'b'), true);
    assert.equal(await client.vCard('k'), 2);
    assert.equal(await client.vDim('k'), 3);
    assert.deepEqual(await client.vEmb('k', 'a'), [1, 0, 0]);
    const raw = await client.vEmbRaw('k', 'a');
    assert.equal(raw.quantization, 'int8');
    assert.equal(raw.l2Norm, 1);
    assert.equal(raw.quantizationRange, 1);
    assert.deepEqual(await client.vGetAttr('k', 'a'), { n: 1 });
    assert.equal(await client.vGetAttr('k', 'b'), null);
    assert.equal(await client.vSetAttr('k', 'b', { s: 'text' }), true);
    assert.deepEqual(await client.vGetAttr('k', 'b'), { s: 'text' });
    const info = await client.vInfo('k');
    assert.equal(info['quant-type'], 'int8');
    assert.equal(info['vector-dim'], 3);
    assert.equal(info.size, 2);
    assert.equal(info['attributes-count'], 2);
    assert.equal(await client.vRem('k', 'a'), true);
    assert.equal(await client.vRem('k', 'a'), false);
    assert.equal(await client.type('k'), 'vectorset');
    assert.deepEqual(await client.keys('*'), ['k']);
    assert.equal(await client.del('k'), 1);
    console.log(`typed commands, RESP${version}: as expected`);
}

async function raw(client, version) {
    await client.flushAll();
    const yes = version === 3 ? true : 1;
    const number = n => version === 3 ? n : String(n);
    const pairs = (...flat) => {
        if (version === 2)
            return flat;
        const map = Object.create(null);
        for (let i = 0; i < flat.length; i += 2)
            map[flat[i]] = flat[i + 1];
        return map;
    };
    const x = Buffer.from(new Float32Array([1, 0]).buffer), y = Buffer.from(new Float32Array([0, 1]).buffer);
    assert.equal(await client.sendCommand(['VPARTITION', 'CREATE', 'k', 'DIM', '2', 'PARTITIONS', '2']), 'OK');
    assert.deepEqual(await client.sendCommand(['VMADD', 'k', 'FP32', '2', 'a', x, 'b', y, 'WITHATTRS', '{"n":1}', '']), [yes, yes]);
    assert.deepEqual(await client.sendCommand(['VSEARCH', 'k', 'FP32', x]), ['a', 'b']);
    assert.deepEqual(await client.sendCommand(['VSEARCH', 'k', 'FP32', x, 'WITHSCORES']), pairs('a', number(1), 'b', number(0.5)));
    assert.deepEqual(await client.sendCommand(['VSEARCH', 'k', 'ELE', 'a', 'WITHATTRIBS', 'K', '1']), pairs('a', '{"n":1}'));
    const both = await client.sendCommand(['VSEARCH', 'k', 'FP32', x, 'WITHSCORES', 'RETURN', '1', 'n', 'K', '1']);
    assert.deepEqual(both, version === 3 ? pairs('a', [1, ['1']]) : ['a', '1', ['1']]);
    const [found, info] = await client.sendCommand(['VSEARCH', 'k', 'FP32', y, 'K', '1', 'WITHINFO']);
    assert.deepEqual(found, ['b']);
    assert.equal(version === 3 ? info.partitions_asked : info[1], 2);
    assert.deepEqual(await client.sendCommand(['VMSEARCH', 'k', 'FP32', '2', x, y, 'K', '1']), [['a'], ['b']]);
    const asBuffers = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } };
    const [vector, attributes] = await client.sendCommand(['VGET', 'k', 'b'], asBuffers);
    assert.deepEqual(vector, y);
    assert.equal(attributes, null);
    assert.equal(await client.sendCommand(['VDEL', 'k', 'a', 'b', 'c']), 2);
    assert.equal(await client.exists('k'), 1);
    await assert.rejects(client.sendCommand(['VSEARCH', 'k', 'ELE', 'a']), /element not found in set/);
    console.log(`raw commands, RESP${version}: as expected`);
}

for (const version of [2, 3]) {
    const client = await connect(version);
    await typed(client, version);
    await raw(client, version);
    await client.close();
}
