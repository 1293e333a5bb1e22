"""An agent of the official `openai-agents` package with the model of tests/fixtures/scripted: it
calls two functions, gets what they give, and answers. By chats and by responses."""

import asyncio

import agents
import openai
import pytest

agents.set_tracing_disabled(True)


def agent(server, kind):
    client = openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="unused", max_retries=0)
    called = []

    @agents.function_tool
    def get_weather(place: str, days: int) -> str:
        called.append(("get_weather", place, days))
        return "cold"

    @agents.function_tool
    def clock() -> str:
        called.append(("clock",))
        return "noon"

    model = kind(model="scripted", openai_client=client)
    return agents.Agent(name="weather", model=model, tools=[get_weather, clock]), called


KINDS = [agents.OpenAIChatCompletionsModel, agents.OpenAIResponsesModel]
ASKED = "How is the weather in Köln?"
CALLED = [("clock",), ("get_weather", "Köln", 2)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_calls_and_answers(scripted_server, kind):
    asked, called = agent(scripted_server, kind)
    result = asyncio.run(agents.Runner.run(asked, ASKED))
    assert result.final_output == "It is cold in Köln."
    # It runs them side by side.
    assert sorted(called) == CALLED


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_streams(scripted_server, kind):
    asked, called = agent(scripted_server, kind)

    async def run():
        result = agents.Runner.run_streamed(asked, ASKED)
        kinds = [event.type async for event in result.stream_events()]
        return result.final_output, kinds

    said, kinds = asyncio.run(run())
    assert said == "It is cold in Köln."
    assert sorted(called) == CALLED
    assert "raw_response_event" in kinds
