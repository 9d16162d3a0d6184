from conftest import Script


def test_both_loops_run_and_are_compared(script: Script) -> None:
    done = script("benchmark.py", "--rounds", 1, "--steps", 1, "--batch-size", 2)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ours", "plain", "ratio"]
    assert float(lines[2].split()[-1]) > 0
