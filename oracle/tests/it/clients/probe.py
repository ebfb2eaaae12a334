"""The official Python SDK against an oracle: every feature, and every refusal."""

import sys

import openai

base, key = sys.argv[1:3]
client = openai.OpenAI(base_url=base, api_key=key, max_retries=0)
hello = [{"role": "user", "content": "Hello!"}]


def ask(**fields):
    fields = {"model": "shard-hybrid", "messages": hello, "max_tokens": 8} | fields
    return client.chat.completions.create(**fields)


def refused(kind, code, **fields):
    try:
        ask(**fields)
    except kind as error:
        assert error.code == code, (error.code, code)
        assert error.request_id, error
        return error
    raise AssertionError(f"{fields} was taken")


plain = ask(temperature=0)
assert plain.object == "chat.completion" and plain.model == "shard-hybrid"
assert plain.created > 1_700_000_000 and plain.system_fingerprint
assert plain._request_id
assert plain.usage.total_tokens == plain.usage.prompt_tokens + plain.usage.completion_tokens
assert plain.choices[0].message.role == "assistant"
assert plain.choices[0].finish_reason in ("stop", "length")

chunks = list(ask(stream=True, temperature=0, stream_options={"include_usage": True}))
assert chunks[0].choices[0].delta.role == "assistant"
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text == plain.choices[0].message.content, (text, plain)
assert chunks[-1].usage == plain.usage and not chunks[-1].choices
assert chunks[-2].choices[0].finish_reason == plain.choices[0].finish_reason

# The helper refuses answers that end at their limit.
short = {"messages": [{"role": "user", "content": "!short!"}], "max_tokens": 500, "temperature": 0}
with client.chat.completions.stream(model="shard-hybrid", **short) as stream:
    for _ in stream:
        pass
    whole = stream.get_final_completion()
assert whole.choices[0].message.content == ask(**short).choices[0].message.content

assert ask(max_completion_tokens=2, messages=[{"role": "user", "content": "!long!"}]).usage.completion_tokens == 2
parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo!"}]
assert ask(temperature=0, messages=[{"role": "user", "content": parts}]).choices[0].message.content == text
ask(messages=[{"role": "developer", "content": "Be brief."}] + hello)
# An answer of the SDK's goes back as it is.
ask(messages=hello + [plain.choices[0].message] + hello)
assert len({choice.index for choice in ask(n=3).choices}) == 3
assert ask(seed=7).choices[0].message.content == ask(seed=7).choices[0].message.content
probable = ask(logprobs=True, top_logprobs=3).choices[0].logprobs.content
assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in probable)
ask(stop=["a", "b"], top_p=0.9, presence_penalty=1, frequency_penalty=-1, logit_bias={"3": -100}, user="me")
ask(metadata={"a": "b"}, store=False, service_tier="auto", response_format={"type": "text"})

assert [model.id for model in client.models.list()] == ["shard-hybrid"]
assert client.models.retrieve("shard-hybrid").owned_by == "shard-network"

assert refused(openai.NotFoundError, "model_not_found", model="gpt-4").param == "model"
assert refused(openai.BadRequestError, "invalid_value", temperature=3).param == "temperature"
tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
assert refused(openai.BadRequestError, "unsupported_parameter", tools=tools).param == "tools"
refused(openai.BadRequestError, "unsupported_parameter", response_format={"type": "json_object"})
image = [{"type": "image_url", "image_url": {"url": "data:"}}]
error = refused(openai.BadRequestError, "unsupported_parameter", messages=[{"role": "user", "content": image}])
assert error.param == "messages[0].content[0].type"
refused(openai.APIStatusError, "prompt_too_large", messages=[{"role": "user", "content": "x" * 16_001}])
try:
    openai.OpenAI(base_url=base, api_key="wrong", max_retries=0).models.list()
    raise AssertionError("a wrong key was taken")
except openai.AuthenticationError as error:
    assert error.code == "invalid_api_key" and "Missing or invalid API key" in error.message

try:
    for _ in ask(stream=True, max_tokens=50, messages=[{"role": "user", "content": "!long! !fail-after=5!"}]):
        pass
    raise AssertionError("a failure looked like an end")
except openai.APIError as error:
    assert "Inference failed" in error.message, error.message
print("all good")
