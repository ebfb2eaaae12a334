"""Every kind of call that people make with OpenAI's own Python client.

BASE_URL and API_KEY say where; each kind prints one line when it was clean.
"""

import math
import os
import sys
from collections.abc import Callable

import openai
from openai import OpenAI

BASE_URL = os.environ["BASE_URL"]
client = OpenAI(base_url=BASE_URL, api_key=os.environ["API_KEY"], max_retries=0)
chat = client.chat.completions
MODEL = "shard-hybrid"
HELLO = [{"role": "user", "content": "What is the capital of France?"}]
kinds: list[Callable[[], None]] = []


def kind(function: Callable[[], None]) -> Callable[[], None]:
    kinds.append(function)
    return function


def refused(error: type[openai.APIStatusError], **asked: object) -> openai.APIStatusError:
    try:
        chat.create(**{"model": MODEL, "messages": HELLO, "max_tokens": 4} | asked)
    except error as refusal:
        assert refusal.request_id, "no request id"
        assert refusal.body["message"], refusal.body
        return refusal
    raise AssertionError(f"{asked} was answered")


def whole(completion: object, *, choices: int = 1) -> None:
    assert completion.id.startswith("chatcmpl-")
    assert completion.object == "chat.completion"
    assert completion.model == MODEL
    assert completion.created > 1_700_000_000
    assert completion.system_fingerprint
    assert completion._request_id
    assert [choice.index for choice in completion.choices] == list(range(choices))
    usage = completion.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    for choice in completion.choices:
        assert choice.message.role == "assistant"
        assert choice.finish_reason in ("stop", "length")


@kind
def plain() -> None:
    completion = chat.create(model=MODEL, messages=HELLO, temperature=0, max_tokens=24)
    whole(completion)
    assert completion.choices[0].message.content


@kind
def stream() -> None:
    asked = {"model": MODEL, "messages": HELLO, "temperature": 0, "max_tokens": 24}
    chunks = list(chat.create(**asked, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert all(chunk.object == "chat.completion.chunk" and chunk.model == MODEL for chunk in chunks)
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == chat.create(**asked).choices[0].message.content


@kind
def stream_with_usage() -> None:
    chunks = list(
        chat.create(
            model=MODEL, messages=HELLO, max_tokens=8, stream=True, stream_options={"include_usage": True}
        )
    )
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens <= 8
    assert chunks[-1].usage.prompt_tokens > 0


@kind
def stream_helper() -> None:
    asked = {"model": MODEL, "messages": HELLO, "temperature": 0, "max_tokens": 24}
    # The helper takes an answer that was cut off for an error.
    border = chat.create(**asked).choices[0].message.content[3:6]
    with chat.stream(**asked, stop=border) as events:
        deltas = [event.delta for event in events if event.type == "content.delta"]
        completion = events.get_final_completion()
    assert "".join(deltas) == completion.choices[0].message.content


@kind
def max_completion_tokens() -> None:
    completion = chat.create(model=MODEL, messages=HELLO, max_completion_tokens=2, temperature=0)
    whole(completion)
    assert completion.usage.completion_tokens == 2
    assert completion.choices[0].finish_reason == "length"


@kind
def content_parts() -> None:
    parts = [{"type": "text", "text": "What is the capital "}, {"type": "text", "text": "of France?"}]
    asked = {"model": MODEL, "temperature": 0, "max_tokens": 12}
    one = chat.create(messages=[{"role": "user", "content": parts}], **asked)
    other = chat.create(messages=HELLO, **asked)
    whole(one)
    assert one.usage.prompt_tokens == other.usage.prompt_tokens
    assert one.choices[0].message.content == other.choices[0].message.content


@kind
def developer_role() -> None:
    def ask(role: str) -> str:
        messages = [{"role": role, "content": "You answer in one word."}, *HELLO]
        completion = chat.create(model=MODEL, messages=messages, temperature=0, max_tokens=12)
        whole(completion)
        return completion.choices[0].message.content

    assert ask("developer") == ask("system")


@kind
def stop() -> None:
    asked = {"model": MODEL, "messages": HELLO, "temperature": 0, "max_tokens": 24}
    text = chat.create(**asked).choices[0].message.content
    assert len(text) > 6, text
    # It begins and ends within what tokens are made of.
    border = text[3:6]
    stopped = chat.create(**asked, stop=[border, "never to be seen"])
    whole(stopped)
    assert stopped.choices[0].message.content == text[: text.index(border)]
    assert stopped.choices[0].finish_reason == "stop"
    streamed = "".join(
        chunk.choices[0].delta.content or "" for chunk in chat.create(**asked, stop=border, stream=True)
    )
    assert streamed == text[: text.index(border)]


@kind
def several_choices() -> None:
    completion = chat.create(model=MODEL, messages=HELLO, n=3, temperature=1.5, seed=7, max_tokens=12)
    whole(completion, choices=3)
    texts = {choice.message.content for choice in completion.choices}
    assert len(texts) > 1, texts
    alone = chat.create(model=MODEL, messages=HELLO, temperature=1.5, seed=7, max_tokens=12)
    assert alone.choices[0].message.content == completion.choices[0].message.content


@kind
def logprobs() -> None:
    completion = chat.create(
        model=MODEL, messages=HELLO, temperature=0, max_tokens=6, logprobs=True, top_logprobs=3
    )
    whole(completion)
    tokens = completion.choices[0].logprobs.content
    assert len(tokens) > 0
    for token in tokens:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        most = [top.logprob for top in token.top_logprobs]
        assert most == sorted(most, reverse=True) and math.isclose(most[0], token.logprob)
    text = b"".join(bytes(token.bytes) for token in tokens).decode(errors="replace")
    assert text == completion.choices[0].message.content


@kind
def seed_and_top_p() -> None:
    def ask(seed: int) -> str:
        completion = chat.create(
            model=MODEL, messages=HELLO, seed=seed, top_p=0.9, temperature=1.2, max_tokens=24
        )
        whole(completion)
        return completion.choices[0].message.content

    assert ask(11) == ask(11)
    assert len({ask(seed) for seed in range(4)}) > 1


@kind
def penalties_and_bias() -> None:
    asked = {"model": MODEL, "messages": HELLO, "temperature": 0, "max_tokens": 16}
    first = chat.create(**asked, logprobs=True, top_logprobs=1)
    whole(chat.create(**asked, presence_penalty=1.5, frequency_penalty=-0.5))
    whole(first)
    # A token of the vocabulary that is pushed hard enough is all that comes.
    pushed = chat.create(**asked, logit_bias={"40": 100}, logprobs=True, top_logprobs=0)
    whole(pushed)
    assert len({token.token for token in pushed.choices[0].logprobs.content}) == 1


@kind
def conversation() -> None:
    messages = [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hello Ada."},
        {"role": "user", "content": "What is my name?"},
    ]
    completion = chat.create(model=MODEL, messages=messages, temperature=0, max_tokens=12)
    whole(completion)
    assert completion.usage.prompt_tokens > chat.create(
        model=MODEL, messages=messages[-1:], temperature=0, max_tokens=1
    ).usage.prompt_tokens


@kind
def models() -> None:
    listed = client.models.list()
    assert [model.id for model in listed] == [MODEL]
    model = client.models.retrieve(MODEL)
    assert model.id == MODEL and model.object == "model" and model.owned_by and model.created > 0


@kind
def unknown_model() -> None:
    refusal = refused(openai.NotFoundError, model="gpt-17")
    assert refusal.code == "model_not_found" and refusal.param == "model"
    try:
        client.models.retrieve("gpt-17")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    else:
        raise AssertionError("an unknown model was found")


@kind
def what_is_out_of_bounds() -> None:
    for name, value in [
        ("temperature", 2.1),
        ("temperature", -0.1),
        ("max_tokens", 0),
        ("max_tokens", 2049),
        ("top_p", 0),
        ("n", 5),
        ("presence_penalty", 3),
        ("logit_bias", {"40": 101}),
        ("messages", []),
    ]:
        refusal = refused(openai.BadRequestError, **{name: value})
        assert refusal.param is not None and refusal.param.startswith(name), (name, refusal.body)
        assert refusal.type == "invalid_request_error", refusal.body


@kind
def what_is_not_supported() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    for name, value in [
        ("tools", [tool]),
        ("response_format", {"type": "json_object"}),
        ("modalities", ["text", "audio"]),
    ]:
        refusal = refused(openai.BadRequestError, **{name: value})
        assert refusal.code == "unsupported_parameter", refusal.body
        assert refusal.param.startswith(name) and name in refusal.body["message"], refusal.body


@kind
def too_large() -> None:
    long = [{"role": "user", "content": "a" * 8000} for _ in range(3)]
    try:
        chat.create(model=MODEL, messages=long)
    except openai.APIStatusError as error:
        assert error.status_code == 413, error
        assert "Prompt too large (>16000 chars)" in error.body["message"]
    else:
        raise AssertionError("24,000 characters were taken")


@kind
def wrong_key() -> None:
    other = OpenAI(base_url=BASE_URL, api_key="wrong", max_retries=0)
    try:
        other.chat.completions.create(model=MODEL, messages=HELLO)
    except openai.AuthenticationError as error:
        assert error.status_code == 401 and error.body["message"] == "Missing or invalid API key"
    else:
        raise AssertionError("a wrong key was taken")


@kind
def headers() -> None:
    raw = chat.with_raw_response.create(
        model=MODEL, messages=HELLO, max_tokens=1, extra_headers={"x-request-id": "mine-17"}
    )
    assert raw.headers["x-request-id"] == "mine-17"
    assert int(raw.headers["x-ratelimit-limit"]) > 0
    assert int(raw.headers["x-ratelimit-remaining"]) >= 0


@kind
def closed_early() -> None:
    stream = chat.create(model=MODEL, messages=HELLO, max_tokens=2048, temperature=1, stream=True)
    for _, _chunk in zip(range(3), stream):
        pass
    stream.close()
    whole(chat.create(model=MODEL, messages=HELLO, max_tokens=4))


for function in kinds:
    function()
    print(f"clean: {function.__name__}")
    sys.stdout.flush()
