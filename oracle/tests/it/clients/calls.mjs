// Every kind of call that people make with OpenAI's own JavaScript client.
//
// BASE_URL and API_KEY say where; each kind prints one line when it was clean.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const OpenAI = createRequire(import.meta.url)('openai').default;
const baseURL = process.env.BASE_URL;
const client = new OpenAI({ baseURL, apiKey: process.env.API_KEY, maxRetries: 0 });
const chat = client.chat.completions;
const model = 'shard-hybrid';
const messages = [{ role: 'user', content: 'What is the capital of France?' }];
const asked = { model, messages, temperature: 0, max_tokens: 24 };

function whole(completion, choices = 1) {
  assert.match(completion.id, /^chatcmpl-/);
  assert.equal(completion.object, 'chat.completion');
  assert.equal(completion.model, model);
  assert.ok(completion.created > 1_700_000_000);
  assert.ok(completion.system_fingerprint);
  assert.ok(completion._request_id);
  assert.deepEqual(completion.choices.map((choice) => choice.index), [...Array(choices).keys()]);
  const { usage } = completion;
  assert.ok(usage.prompt_tokens > 0 && usage.completion_tokens > 0);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  for (const choice of completion.choices) {
    assert.equal(choice.message.role, 'assistant');
    assert.ok(['stop', 'length'].includes(choice.finish_reason));
  }
  return completion;
}

const text = (completion) => completion.choices[0].message.content;

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const kinds = {
  async plain() {
    assert.ok(text(whole(await chat.create(asked))).length > 0);
  },

  async stream() {
    const chunks = await collect(await chat.create({ ...asked, stream: true }));
    assert.equal(chunks[0].choices[0].delta.role, 'assistant');
    assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
    assert.ok(['stop', 'length'].includes(chunks.at(-1).choices[0].finish_reason));
    const streamed = chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join('');
    assert.equal(streamed, text(await chat.create(asked)));
  },

  async stream_with_usage() {
    const chunks = await collect(
      await chat.create({ ...asked, max_tokens: 8, stream: true, stream_options: { include_usage: true } }),
    );
    assert.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.ok(chunks.at(-1).usage.prompt_tokens > 0);
  },

  async stream_helper() {
    const runner = chat.stream(asked);
    let deltas = '';
    runner.on('content', (delta) => (deltas += delta));
    const completion = await runner.finalChatCompletion();
    assert.equal(deltas, text(completion));
    assert.equal(await runner.finalContent(), deltas);
  },

  async max_completion_tokens() {
    const { max_tokens, ...rest } = asked;
    const completion = whole(await chat.create({ ...rest, max_completion_tokens: 2 }));
    assert.equal(completion.usage.completion_tokens, 2);
    assert.equal(completion.choices[0].finish_reason, 'length');
  },

  async content_parts() {
    const content = [
      { type: 'text', text: 'What is the capital ' },
      { type: 'text', text: 'of France?' },
    ];
    const completion = whole(await chat.create({ ...asked, messages: [{ role: 'user', content }] }));
    assert.equal(text(completion), text(await chat.create(asked)));
  },

  async developer_role() {
    const ask = async (role) =>
      text(
        whole(await chat.create({ ...asked, messages: [{ role, content: 'You answer in one word.' }, ...messages] })),
      );
    assert.equal(await ask('developer'), await ask('system'));
  },

  async stop() {
    const all = text(await chat.create(asked));
    const border = all.slice(3, 6);
    const completion = whole(await chat.create({ ...asked, stop: border }));
    assert.equal(text(completion), all.slice(0, all.indexOf(border)));
    assert.equal(completion.choices[0].finish_reason, 'stop');
  },

  async several_choices() {
    const completion = await chat.create({ ...asked, n: 3, temperature: 1.5, seed: 7 });
    whole(completion, 3);
    assert.ok(new Set(completion.choices.map((choice) => choice.message.content)).size > 1);
  },

  async logprobs() {
    const completion = whole(await chat.create({ ...asked, max_tokens: 6, logprobs: true, top_logprobs: 3 }));
    const tokens = completion.choices[0].logprobs.content;
    assert.ok(tokens.length > 0);
    for (const token of tokens) {
      assert.ok(token.logprob <= 0);
      assert.equal(token.top_logprobs.length, 3);
    }
    assert.equal(Buffer.concat(tokens.map((token) => Buffer.from(token.bytes))).toString(), text(completion));
  },

  async seed_and_top_p() {
    const ask = async (seed) => text(whole(await chat.create({ ...asked, seed, top_p: 0.9, temperature: 1.2 })));
    assert.equal(await ask(11), await ask(11));
  },

  async models() {
    const listed = await collect(await client.models.list());
    assert.deepEqual(listed.map((entry) => entry.id), [model]);
    assert.equal((await client.models.retrieve(model)).object, 'model');
  },

  async unknown_model() {
    await assert.rejects(chat.create({ ...asked, model: 'gpt-17' }), (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.equal(error.code, 'model_not_found');
      assert.equal(error.param, 'model');
      assert.ok(error.requestID);
      return true;
    });
  },

  async what_is_out_of_bounds() {
    await assert.rejects(chat.create({ ...asked, temperature: 2.1 }), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.equal(error.param, 'temperature');
      assert.equal(error.type, 'invalid_request_error');
      return true;
    });
  },

  async what_is_not_supported() {
    const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object' } } }];
    await assert.rejects(chat.create({ ...asked, tools }), (error) => {
      assert.equal(error.code, 'unsupported_parameter');
      return error instanceof OpenAI.BadRequestError;
    });
  },

  async wrong_key() {
    const other = new OpenAI({ baseURL, apiKey: 'wrong', maxRetries: 0 });
    await assert.rejects(other.chat.completions.create(asked), OpenAI.AuthenticationError);
  },

  async headers() {
    const { response } = await chat.create({ ...asked, max_tokens: 1 }).withResponse();
    assert.ok(response.headers.get('x-request-id'));
    assert.ok(Number(response.headers.get('x-ratelimit-limit')) > 0);
  },

  async closed_early() {
    const stream = await chat.create({ ...asked, max_tokens: 2048, temperature: 1, stream: true });
    let seen = 0;
    for await (const chunk of stream) {
      assert.ok(chunk.id);
      if ((seen += 1) === 3) break;
    }
    assert.equal(seen, 3);
    whole(await chat.create({ ...asked, max_tokens: 4 }));
  },
};

for (const [name, call] of Object.entries(kinds)) {
  await call();
  console.log(`clean: ${name}`);
}
