"""`harness attach`: requests to a server that runs already, beside all others."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.asked import Files, asked, check_drawn, named
from harness.cli.finish import finishing
from harness.cli.run import show
from harness.cli.setting_options import with_setting
from harness.compare.known import Declared
from harness.compare.result import CaseResult
from harness.compare.setting import Setting
from harness.console import Console
from harness.drivers.timeouts import Timeouts
from harness.engines.vllm.attach.client import Address, Server
from harness.engines.vllm.attach.protocol import ServerFacts, start
from harness.engines.vllm.attach.switch import SWITCH
from harness.engines.vllm.options import DTYPES, PARTITION
from harness.errors import EnvironmentFailure, UsageError
from harness.families import checkpoint, pictures, sounds, videos
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.report import journal
from harness.report.extent import Extent
from harness.report.folder import claimed
from harness.verification import catalogue as catalogues
from harness.verification import usage
from harness.verification.attached import CHOSEN, Attached, check_engine, check_layout, dtype_of, setting_of

UNOBSERVED = "the server was started without the plugin: no mask is observed, and what its API tells is compared"
UNTOLD = "what it declares of a serving-arg does not hold here: a server does not tell its engine's arguments"
WAYS = "give exactly one of layout, catalogue, and a message of text, images, videos and audio"
WAITING = 60.0
"""Seconds that a server may take to say what it is; it hashes its checkpoint for that."""


@with_setting(*CHOSEN)
def attach(
    url: Annotated[
        str, typer.Argument(help="http://HOST:PORT of a `vllm serve`; its masks are observed if it has the plugin")
    ],
    layout: Annotated[str | None, typer.Option(help='for instance "t3 i5 t4 i12 t3"')] = None,
    image: Annotated[
        list[str] | None, typer.Option(help="a picture's file, before the text of a message; repeatable")
    ] = None,
    video: Annotated[
        list[str] | None, typer.Option(help="a video's file, before the text of a message; repeatable")
    ] = None,
    audio: Annotated[
        list[str] | None, typer.Option(help="a WAV file, before the text of a message; repeatable")
    ] = None,
    text: Annotated[str | None, typer.Option(help="the text of a message, through the server's chat template")] = None,
    catalogue: Annotated[
        bool, typer.Option("--catalogue", help="layouts around the model's window and the budgets of its processor")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(help="the server's checkpoint, where it is on this machine; by default where the server has it"),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="the file of the token that the server was started with", envvar=SWITCH)
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="what the server computes in, where it was started without the plugin")
    ] = None,
    engine: Annotated[
        int | None,
        typer.Option(help="the data-parallel engine, from 0, that serves every prompt; by default they take turns"),
    ] = None,
    known: options.KnownOption = None,
    seed: Annotated[int, typer.Option(help="draws the words and pictures of a layout")] = 0,
    serving_python: options.ServingPython = options.THIS_PYTHON,
    reference: options.ReferencePython = options.THIS_PYTHON,
    timeout: options.Timeout = options.TIMEOUTS.case,
    start_timeout: options.StartTimeout = options.TIMEOUTS.start,
    out: Annotated[Path | None, typer.Option(help="write the report into this folder too")] = None,
    keep: Annotated[Path | None, typer.Option(help="keep captures and logs in this folder")] = None,
    format: options.FormatOption = options.Format.text,
    *,
    setting: Setting,
) -> None:
    """Observe requests to a running server, and compare masks and logits with the reference here."""
    timeouts = Timeouts(timeout, start_timeout)
    os.environ.pop(PARTITION, None)  # the server has its own, and no engine is started here
    address = Address(url.rstrip("/"), str(token_file.absolute()) if token_file else "")
    files = Files(image or (), video or (), audio or (), chat=not layout)
    if catalogue and (layout or text or any(files.named.values())):
        given = layout or text or " ".join(filter(None, files.named.values()))
        raise UsageError("catalogue", given, "alone: it has layouts of its own")
    _check_one(layout, {**files.named, "text": text}, catalogue)
    if not catalogue:
        case, _ = named(layout, None, None, files, text, model or "", catalogues.OWN)
        check_drawn(case, seed, setting)
    for path in video or ():
        videos.looked_at(path)
    for path in image or ():
        pictures.size_of(path)
    for path in audio or ():
        sounds.looked_at(path)
    if dtype not in (None, *DTYPES):
        raise UsageError("dtype", dtype, f"one of {', '.join(DTYPES)}")
    if engine is not None and engine < 0:
        raise UsageError("engine", str(engine), "the number of a data-parallel engine, from 0")
    if model and not checkpoint.model(model).source:
        raise UsageError("model", model, "a directory or an id of the hub: a server has no preset")
    catalogues.declared(known or [])
    with ExitStack() as tried:
        _claim(tried, out, keep)
    serving_python, reference_python = options.interpreters(serving_python, reference)
    if not catalogue:
        usage.check_decoders(case, None, [reference_python])
    with closing(Server(address, WAITING)) as server:
        facts = server.facts
    if facts.problem:
        raise EnvironmentFailure(f"{url}: the server cannot be observed: {facts.problem}")
    if facts.unlike and not (layout or catalogue):
        why = f"the server has {facts.unlike}, of which the reference is not told; --layout has token ids"
        raise EnvironmentFailure(f"{url}: a message cannot be compared: {why}")
    check_engine(facts, engine)
    from harness.verification.session import Session
    from harness.verification.verify import verify_all

    if facts.engine.by_api:
        Console(stderr=True).print(f"{url}: {UNOBSERVED}; {start(facts.versions['vllm'])}")
    where = model or _model_of(facts)
    cases, spec, declared, tokens = (
        _of_catalogue(where, facts, serving_python, known or [])
        if catalogue
        else _one(layout, files, text, where, seed, setting, known or [], facts)
    )
    for file in dict.fromkeys(one.file for one in declared if one.file and "arguments" in dict(one.settings)):
        Console(stderr=True).print(f"{file}: {UNTOLD}")
    setting = setting_of(facts, setting, dtype_of(facts, dtype, spec))
    usage.check_attached(setting, spec, reference_python, tokens)
    results: list[CaseResult] = []
    console = Console(stderr=True)
    command = shlex.join(["harness", *sys.argv[1:]])

    def say(why: str) -> None:
        _say(results, Extent(len(results), len(cases), ended=why), format, panels=out is None)

    def write(why: str) -> None:
        if out and results:
            from harness.report.files import write_report

            index = write_report(results, out, command, Extent(len(results), len(cases), ended=why))
            console.print(f"report: {index}")
        if out:
            journal.end(out)

    with ExitStack() as held:
        _claim(held, out, keep)
        runs = Attached(reference_python, serving_python, address=address, facts=facts, number=engine)
        session = held.enter_context(
            Session(
                reference_python=reference_python,
                serving_python=serving_python,
                keep=keep,
                timeouts=timeouts,
                runs=runs,
            )
        )
        recorder = journal.begin("out", out, command, len(cases)) if out else journal.Recorder(None)
        held.enter_context(finishing(say, write))
        held.enter_context(console.working(f"{url}: {len(cases)} requests, {setting.label}"))

        def found(result: CaseResult) -> None:
            results.append(result)
            recorder.append(result)

        verify_all(session, [(case, setting) for case in cases], declared, found, spec=spec)
    raise typer.Exit(max(result.verdict.exit_code for result in results))


def _check_one(layout: str | None, message: Mapping[str, str | None], catalogue: bool) -> None:
    """Raise UsageError unless a layout, a message or the catalogue is given, and one of them alone."""
    of_message = {name: value for name, value in message.items() if value is not None}
    if layout is not None and of_message:
        fields, given = ["layout", *of_message], [layout, *of_message.values()]
    elif layout is None and not of_message and not catalogue:
        fields, given = ["layout", *message, "catalogue"], ["none of them"]
    else:
        return
    raise UsageError(" and ".join(fields) if of_message else ", ".join(fields), ", ".join(filter(None, given)), WAYS)


def _claim(held: ExitStack, out: Path | None, keep: Path | None) -> None:
    """Claim the folders that are written to; raises UsageError as `claimed`."""
    for field, folder in (("out", out), ("keep", keep)):
        if folder:
            held.enter_context(claimed(field, folder))


def _model_of(facts: ServerFacts) -> str:
    """The server's checkpoint as `--model` names it.

    Raises:
        UsageError: it is a directory that this machine does not have, or one that a server without the plugin does not say where
            it is.
    """
    if not Path(facts.model).is_dir() and not checkpoint.is_id(facts.model):
        raise UsageError(
            "model", facts.model, "on this machine: the server has it elsewhere; name a copy with --model DIR"
        )
    return facts.model


def _one(
    layout: str | None,
    files: Files,
    text: str | None,
    model: str,
    seed: int,
    setting: Setting,
    known: list[str],
    facts: ServerFacts,
) -> tuple[list[Case], ModelSpec, list[Declared], tuple[int, ...]]:
    what = asked(layout, None, None, files, text, model, None, None, None, seed, setting, known, catalogues.OWN)
    if what.case.layout:
        check_layout(facts, Layout.parse(what.case.layout))
    return [what.case], what.spec, what.declared, what.tokens


def _of_catalogue(
    model: str, facts: ServerFacts, python: str, known: list[str]
) -> tuple[list[Case], ModelSpec, list[Declared], tuple[int, ...]]:
    """The layouts of the catalogue that the model and the server take; the last is the length of the shortest.

    Raises:
        UsageError: they take none.
    """
    spec = checkpoint.model(model)
    there = catalogues.load()
    entries, refused = there.of_model(spec, "cpu", python)  # the server's own setting is in place of theirs
    cases = list(dict.fromkeys(case for case, _ in entries))
    for case in cases:
        try:
            check_layout(facts, Layout.parse(case.layout))
        except UsageError as error:
            refused[case.name] = str(error)
    for line in catalogues.left_out(refused):
        Console(stderr=True).print(line)
    taken = [case for case in cases if case.name not in refused]
    if not taken:
        raise UsageError("catalogue", model, "a model and a server that take one of its layouts")
    shortest = min(len(Layout.parse(case.layout)) for case in taken)
    return taken, spec, catalogues.declared(known), (shortest,)


def _say(results: list[CaseResult], extent: Extent, format: options.Format, *, panels: bool) -> None:
    """Print what was found; with ``panels`` also why each result is not as expected, where no report says it."""
    if len(results) == extent.planned == 1:
        show(results[0], format)
    elif format is options.Format.json:
        json.dump([result.to_dict() for result in results], sys.stdout)
        print()
    elif results:
        from harness.report.terminal import summary_table

        Console().print(summary_table(results, extent.sentence))
        for result in results if panels else ():
            if result.verdict.exit_code:
                show(result, format)
