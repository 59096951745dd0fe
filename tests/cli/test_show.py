"""`harness show` draws what the formulas say."""

from tests.cli.command import harness

SLIDING = """\
     t<III>t
  0 t#......
  1 <##.....
  2 I.####..
  3 I..###..
  4 I...##..
  5 >....##.
  6 t.....##
"""
FULL = """\
     t<III>t
  0 t#......
  1 <##.....
  2 I###....
  3 I####...
  4 I#####..
  5 >######.
  6 t#######
"""


def test_both_kinds_of_layer_are_drawn() -> None:
    done = harness("show", "--layout", "t1 i3 t1", "--window", "2")
    assert (done.code, done.err) == (0, "")
    assert done.out.index(SLIDING) < done.out.index(FULL)


def test_each_policy_that_is_asked_for_is_drawn_with_its_sentence() -> None:
    done = harness("show", "--layout", "t1 i3 t1", "--policy", "drop", "--policy", "unclamped")
    assert "drop on sliding layers: as clamp, but an image longer than the window is left causal" in done.out
    assert "unclamped on sliding layers: the tokens of one image see each other however far" in done.out


def test_every_preset_is_listed() -> None:
    done = harness("show", "--models")
    assert done.code == 0
    for name in ("tiny", "26b-a4b-small", "31b-shape"):
        assert name in done.out
