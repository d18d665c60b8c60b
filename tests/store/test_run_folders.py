"""What the store keeps of a finished run's folder."""

from appliance.store import run_folders
from appliance.store.rundir import RunDir


def test_a_run_is_known_by_its_own_figures_whatever_its_stage(tmp_path):
    ppo, reward, broken = (RunDir(tmp_path / name) for name in ("ppo", "reward", "broken"))
    for run in (ppo, reward, broken):
        run.report.mkdir(parents=True)
    (ppo.report / "report.json").write_text('{"improved": 3, "seconds": {"total": 9.5}, "per_prompt": []}')
    assert run_folders.result(ppo) == {"improved": 3, "seconds": 9.5}
    # a reward run has both; its report gives the seconds as one number
    (reward.report / "report.json").write_text('{"seconds": 4.2, "held_out_accuracy": 0.7, "worst": []}')
    (reward.path / "result.json").write_text('{"held_out_accuracy": 0.7, "seconds": 4.2}')
    assert run_folders.result(reward) == {"held_out_accuracy": 0.7, "seconds": 4.2}
    (broken.report / "report.json").write_text('{"seconds": 4.2}')
    assert run_folders.result(broken) == {"seconds": None}
