// The official JavaScript SDK against an oracle.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const OpenAI = createRequire(import.meta.url)('openai').default;
const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: 'user', content: 'Hello!' }];
const ask = (fields) => client.chat.completions.create({ model: 'shard-hybrid', messages, max_tokens: 8, ...fields });

const plain = await ask({ temperature: 0 });
assert.equal(plain.object, 'chat.completion');
assert.ok(plain._request_id && plain.created && plain.system_fingerprint);
const text = plain.choices[0].message.content;

let streamed = '';
let last;
for await (const chunk of await ask({ temperature: 0, stream: true, stream_options: { include_usage: true } })) {
  streamed += chunk.choices[0]?.delta?.content ?? '';
  last = chunk;
}
assert.equal(streamed, text);
assert.deepEqual(last.usage, plain.usage);

const final = await client.chat.completions
  .stream({ model: 'shard-hybrid', messages, max_tokens: 8, temperature: 0 })
  .finalContent();
assert.equal(final, text);

// The drawn seed survives JavaScript's numbers.
const drawn = await ask({ temperature: 1 });
const again = await ask({ temperature: 1, seed: drawn.shard.seed });
assert.equal(again.choices[0].message.content, drawn.choices[0].message.content);

const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert.deepEqual(models, ['shard-hybrid']);
assert.equal((await client.models.retrieve('shard-hybrid')).id, 'shard-hybrid');

const refused = async (fields, status, code, param) => {
  const error = await ask(fields).then(() => null, (error) => error);
  assert.deepEqual([error?.status, error?.code, error?.param], [status, code, param]);
  assert.ok(error.requestID);
};
await refused({ model: 'gpt-4' }, 404, 'model_not_found', 'model');
await refused({ n: 9 }, 400, 'invalid_value', 'n');
await refused({ tools: [{ type: 'function', function: { name: 'f' } }] }, 400, 'unsupported_parameter', 'tools');

const failing = await ask({ stream: true, max_tokens: 50, messages: [{ role: 'user', content: '!long! !fail-after=5!' }] });
await assert.rejects(async () => {
  for await (const _ of failing);
}, /Inference failed/);

const aborted = await ask({ stream: true, max_tokens: 2000, messages: [{ role: 'user', content: '!long! !slow=20ms!' }] });
let count = 0;
for await (const _ of aborted) if (++count === 3) break;
console.log('all good');
