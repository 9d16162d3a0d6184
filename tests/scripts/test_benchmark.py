from conftest import Script


def test_both_loops_run_and_are_compared(script: Script) -> None:
    done = script("benchmark.py", "--rounds", 1, "--steps", 1, "--batch-size", 2)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ours", "plain", "ratio"]
    assert float(lines[2].split()[-1]) > 0


def test_rendering_is_timed_alone(script: Script) -> None:
    line = script("benchmark.py", "--rooms").stdout.split()
    assert line[0] == "rooms" and float(line[1]) > 0 and line[-1] == "224x224"
