"""What the wire alone costs: an aiohttp loop that sends and reads JSON, keeps nothing and checks nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator

import aiohttp
from tickets import IN_FLIGHT, MODEL, Ticket, measured, report

_SYSTEM = "Read the facts below out of <body>. Use only what it says. Answer with one JSON object."
_SCHEMA = {**Ticket.model_json_schema(), "additionalProperties": False}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "Ticket", "strict": True, "schema": _SCHEMA}}
_HEADERS = {"content-type": "application/json", "authorization": "Bearer none"}

Answers = list[dict[str, str]]


async def ask_all(session: aiohttp.ClientSession, url: str, contents: list[str]) -> Answers:
    """Every text's answer; a fixed number of askers share one iterator."""
    answers: Answers = [{}] * len(contents)
    todo = iter(enumerate(contents))
    await asyncio.gather(*(_ask(session, url, todo, answers) for _ in range(IN_FLIGHT)))
    return answers


async def _ask(session: aiohttp.ClientSession, url: str, todo: Iterator[tuple[int, str]], answers: Answers) -> None:
    for place, text in todo:
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": f"<body>\n{text}\n</body>"}]
        body = {"model": MODEL, "messages": messages, "response_format": _FORMAT}
        async with session.post(url, data=json.dumps(body).encode(), headers=_HEADERS) as reply:
            read = json.loads(await reply.read())
        answers[place] = json.loads(read["choices"][0]["message"]["content"])


async def _opened() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


def main(address: str, rows: int) -> None:
    """Ask for every ticket and report the cost."""
    import uvloop  # as the engine does where it is installed

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        session = runner.run(_opened())

        def run(contents: list[str]) -> None:
            answers = runner.run(ask_all(session, f"{address}/v1/chat/completions", contents))
            assert all(answer["product"] for answer in answers)

        report(measured(rows, run))
        runner.run(session.close())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
