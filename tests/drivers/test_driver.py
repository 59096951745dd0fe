"""A driver answers, fails, dies and is buried; whatever it does, the harness says what and leaves no process."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.drivers import killed
from harness.drivers.messages import PROTOCOL, LoadReference, ReferenceModel
from harness.drivers.process import Driver
from harness.errors import DriverFailure, FailureKind, UsageError
from harness.verification.workplace import Workplace
from tests.drivers.parent import Child, Die, Fail, Finish, Hang, Leave, Refuse, Say, Spill
from tests.drivers.processes import in_group, lives, within


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    log = tmp_path / "logs" / "driver.log"
    started = Driver("tests.drivers.parent", "parent", sys.executable, log, {"TMPDIR": str(tmp_path)})
    yield started
    if started.alive:
        started.close()


def test_what_it_prints_goes_to_the_log_and_not_into_the_answer(driver: Driver) -> None:
    assert driver.ask(Say("over here"), timeout=20).text == "over here"
    assert driver.log() == "over here"


def test_a_failed_request_tells_what_failed_and_the_driver_goes_on(driver: Driver) -> None:
    with pytest.raises(DriverFailure, match="nothing of the kind") as failure:
        driver.ask(Fail(), timeout=20)
    assert failure.value.kind is FailureKind.UNFORESEEN
    assert failure.value.stage == "parent"
    assert "Traceback" in failure.value.log and "nothing of the kind" in failure.value.log
    assert driver.ask(Say("still here"), timeout=20).text == "still here"


def test_only_an_overlay_that_says_so_is_refused(driver: Driver) -> None:
    for request, kind in ((Refuse(overlay=True), FailureKind.REFUSED), (Fail(badly=True), FailureKind.UNFORESEEN)):
        with pytest.raises(DriverFailure) as failure:
            driver.ask(request, timeout=20)
        assert failure.value.kind is kind
        assert failure.value.kind.leaves_driver_whole == (kind is FailureKind.REFUSED)


def test_a_driver_of_another_protocol_is_refused_in_one_line_and_killed(tmp_path: Path) -> None:
    driver = Driver("tests.drivers.of_tomorrow", "parent", sys.executable, tmp_path / "log")
    with pytest.raises(DriverFailure) as failure:
        driver.ask(Say("hello"), timeout=20)
    assert (
        str(failure.value)
        == f"tests.drivers.of_tomorrow speaks protocol {PROTOCOL + 1} of drivers, this harness {PROTOCOL}"
    )
    assert failure.value.kind is FailureKind.PROTOCOL and not driver.alive
    driver.close()


def test_bad_input_is_bad_input_on_this_side_too(driver: Driver) -> None:
    with pytest.raises(UsageError, match="layout: 'x5' is not allowed; something else"):
        driver.ask(Refuse(), timeout=20)


def test_answers_that_nobody_waited_for_are_passed_over(driver: Driver) -> None:
    numbers = [driver.send(Say(f"word {count}"), timeout=20) for count in range(3)]
    assert driver.receive(numbers[1], timeout=20).text == "word 1"
    assert driver.receive(numbers[2], timeout=20).text == "word 2"


def test_more_requests_than_a_pipe_holds_are_worked_off(driver: Driver) -> None:
    text = "x" * 50_000
    numbers = [driver.send(Say(text), timeout=20) for _ in range(10)]
    assert all(driver.receive(number, timeout=20).text == text for number in numbers)


def test_a_driver_that_takes_no_request_is_killed(driver: Driver) -> None:
    driver.send(Hang(), timeout=20)
    with pytest.raises(DriverFailure, match="the parent driver took no request within 2 s and was killed"):  # noqa: PT012 - by whichever fills the pipe
        for _ in range(100):
            driver.send(Say("x" * 100_000), timeout=2)
    assert not driver.alive


def test_an_answer_may_be_finished_beside_the_next_request_and_keeps_its_place(driver: Driver, tmp_path: Path) -> None:
    first = driver.send(Finish(tmp_path / "first"), timeout=20)
    second = driver.send(Say("meanwhile"), timeout=20)
    assert within(20, lambda: "meanwhile" in driver.log())
    (tmp_path / "first").write_text("")
    assert driver.receive(first, timeout=20).place == tmp_path / "first"
    assert driver.receive(second, timeout=20).text == "meanwhile"


def test_an_answer_that_cannot_be_finished_is_a_failure_of_that_request(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "disk").write_text("no space left")
    with pytest.raises(DriverFailure, match="no space left") as failure:
        driver.ask(Finish(tmp_path / "disk"), timeout=20)
    assert failure.value.kind is FailureKind.UNFORESEEN
    assert driver.ask(Say("still here"), timeout=20).text == "still here"


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_driver_that_dies_by_a_signal_is_a_failure_with_its_log(driver: Driver, name: str) -> None:
    driver.ask(Say("my last words"), timeout=20)
    with pytest.raises(DriverFailure, match=f"the parent driver died .signal {name}.") as failure:
        driver.ask(Die(name), timeout=20)
    assert (failure.value.stage, failure.value.kind) == ("parent", FailureKind.GONE)
    assert "my last words" in failure.value.log
    assert not driver.alive


def test_a_driver_that_the_kernel_kills_for_memory_is_told_from_one_that_somebody_else_kills(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = tmp_path / "vmstat"
    counters.write_text(f"pgfault 12\n{killed.KILLED} {killed.for_memory() + 1}\n")
    monkeypatch.setattr(killed, "COUNTERS", counters)
    with pytest.raises(DriverFailure, match="SIGKILL; the kernel has killed a process meanwhile") as failure:
        driver.ask(Die("SIGKILL"), timeout=20)
    assert failure.value.kind is FailureKind.MEMORY


def test_a_driver_that_leaves_is_a_failure_with_its_exit_code(driver: Driver) -> None:
    with pytest.raises(DriverFailure, match="exit code 7"):
        driver.ask(Leave(7), timeout=20)


def test_a_dead_driver_that_is_asked_again_says_that_it_is_gone(driver: Driver) -> None:
    with pytest.raises(DriverFailure):
        driver.ask(Die("SIGKILL"), timeout=20)
    with pytest.raises(DriverFailure, match=r"gone|died"):
        driver.ask(Say("hello"), timeout=20)


def test_a_driver_that_does_not_answer_in_time_is_killed(driver: Driver) -> None:
    driver.ask(Say("ready"), timeout=20)
    start = time.monotonic()
    with pytest.raises(DriverFailure, match="did not answer within 1 s and was killed") as failure:
        driver.ask(Hang(), timeout=1)
    assert failure.value.kind is FailureKind.TIMEOUT
    assert time.monotonic() - start < 5
    assert not driver.alive


def test_closing_ends_the_driver_and_what_it_started(driver: Driver) -> None:
    child = driver.ask(Child(), timeout=20).pid
    driver.close()
    assert within(5, lambda: not lives(child) and not lives(driver.process.pid))


def test_closing_after_a_death_ends_what_it_left_behind(driver: Driver) -> None:
    child = driver.ask(Child(), timeout=20).pid
    with pytest.raises(DriverFailure):
        driver.ask(Die("SIGKILL"), timeout=20)
    driver.close()
    assert within(5, lambda: not lives(child))
    assert within(5, lambda: in_group(driver.process.pid) == [])


def test_an_interpreter_that_cannot_run_a_driver_is_a_failure_with_its_log(tmp_path: Path) -> None:
    driver = Driver("harness.drivers.nowhere", "parent", sys.executable, tmp_path / "log")
    with pytest.raises(DriverFailure, match="exit code 1") as failure:
        driver.ask(Say("hello"), timeout=20)
    assert "No module named harness.drivers.nowhere" in failure.value.log
    driver.close()


def test_the_reference_killed_while_it_works_is_a_failure_of_the_reference(tmp_path: Path) -> None:
    driver = Driver(
        "harness.references.transformers.driver", "reference", sys.executable, tmp_path / "log", {"HF_HUB_OFFLINE": "1"}
    )
    with pytest.raises(DriverFailure, match=r"No such file|no_such|not the path|Can't load") as failure:
        driver.ask(LoadReference(ReferenceModel(str(tmp_path / "no_such"), "eager", "float32"), "cpu"), timeout=60)
    assert failure.value.stage == "reference"
    driver.process.kill()
    with pytest.raises(DriverFailure, match="the reference driver") as failure:
        driver.ask(LoadReference(ReferenceModel("any", "eager", "float32"), "cpu"), timeout=60)
    assert failure.value.kind is FailureKind.GONE
    assert "Traceback" in failure.value.log
    driver.close()
    assert within(5, lambda: in_group(driver.process.pid) == [])


def test_its_temporary_files_go_with_it(tmp_path: Path) -> None:
    session = Workplace()
    scratch = session.folder("t")
    driver = Driver("tests.drivers.parent", "parent", sys.executable, tmp_path / "log", scratch=scratch)
    place = driver.ask(Spill(0, 0), timeout=20).place
    assert place.parent == scratch and (place / "kernel").exists()
    with pytest.raises(DriverFailure):
        driver.ask(Die("SIGKILL"), timeout=20)
    driver.close()
    assert not scratch.exists()
    session.close()


def test_a_folder_whose_name_is_too_long_for_a_socket_is_not_its_temporary_one(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    driver = Driver("tests.drivers.parent", "parent", sys.executable, tmp_path / "log", scratch=long)
    place = driver.ask(Spill(0, 0), timeout=20).place
    assert place.exists() and long not in place.parents
    place.joinpath("kernel").unlink()
    place.rmdir()
    driver.close()


def test_of_a_long_log_the_end_is_shown(driver: Driver) -> None:
    driver.ask(Spill(60_000_000, 0), timeout=60)
    start = time.monotonic()
    assert len(driver.log()) < 10_000
    driver.ask(Spill(60_000_000, 100), timeout=60)
    assert driver.log().splitlines() == [f"line {number}" for number in range(20, 100)]
    assert time.monotonic() - start < 5


def test_a_failure_names_what_was_asked_and_for_which_case(driver: Driver) -> None:
    driver.ask(Say("ready"), timeout=20)
    with pytest.raises(DriverFailure, match="did not answer within 1 s and was killed; asked for: Hang of two-images"):
        driver.ask(Hang(), timeout=1, about="two-images")


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "log").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic"):
        Driver("tests.drivers.parent", "parent", sys.executable, tmp_path / "log")
    assert (tmp_path / "mine").read_text() == "mine"
