"""slurm/: what the batch scripts ask srun for, with a stand-in that writes it down."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from appliance.cli.serve_reward import serve_reward
from appliance.cli.train import train


@pytest.fixture
def submit(provisioning: Path, tmp_path: Path):
    """submit(script, **environment) -> the finished script; srun's calls stand in tmp_path/calls."""
    commands = tmp_path / "bin"
    commands.mkdir()
    server = '*serve-reward*) [ "${SERVER:-}" = dies ] || exec /bin/sleep 30;;'
    first = '*--kill-on-bad-exit*) echo "$WORLD_SIZE $MASTER_ADDR $MASTER_PORT" >> "$CALLS";;'
    srun = f'#!/usr/bin/env bash\necho "$*" >> "$CALLS"\ncase "$*" in {server} {first} esac\n'
    for name, text in {
        "srun": srun,
        "scontrol": "#!/usr/bin/env bash\nprintf 'node1\\nnode2\\n'\n",
        "python3": "#!/usr/bin/env bash\nexit ${ANSWERS:-0}\n",
        "sleep": '#!/usr/bin/env bash\nexec /bin/sleep "${NAP:-$1}"\n',
    }.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)

    def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "data").mkdir(exist_ok=True)
        return subprocess.run(
            ["bash", str(provisioning / "slurm" / script)],
            cwd=tmp_path,
            env={
                "PATH": f"{commands}{os.pathsep}/usr/bin:/bin",
                "CALLS": str(tmp_path / "calls"),
                "APPLIANCE_DATA": str(tmp_path / "data"),
                "SLURM_JOB_ID": "7",
                "SLURM_JOB_NAME": "rlhf",
                "SLURM_JOB_NODELIST": "node[1-2]",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def known(words: list[str], command) -> None:
    """Each option is one that the command has."""
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_a_task_of_the_sweep_sets_its_own_line_and_resumes(submit, tmp_path: Path):
    (tmp_path / "sweep.txt").write_text("--set seed=1\n--set seed=2 --set kl.coef=0.05\n")
    array = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}
    done = submit("sweep.sbatch", CONFIG="c.yaml", SWEEP="sweep.txt", **array)
    assert done.returncode == 0, done.stderr
    words = (tmp_path / "calls").read_text().split()
    assert words[:5] == ["appliance", "train", "ppo", "--config", "c.yaml"]
    assert words[5:9] == ["--set", "seed=2", "--set", "kl.coef=0.05"]
    assert words[9:] == ["--resume", "--run-dir", f"{tmp_path}/data/sweep-7-2"]
    known(words, train)
    done = submit("sweep.sbatch", CONFIG="c.yaml", SWEEP="sweep.txt", NAME="week", **array)
    assert (tmp_path / "calls").read_text().splitlines()[1].endswith(f"{tmp_path}/data/sweep-week-2")


def test_a_task_without_a_line_ends_with_what_is_missing(submit, tmp_path: Path):
    (tmp_path / "sweep.txt").write_text("--set seed=1\n")
    array = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}
    done = submit("sweep.sbatch", CONFIG="c.yaml", SWEEP="sweep.txt", **array)
    assert (done.returncode, done.stderr) == (2, "sweep.txt has no line 2\n")
    assert submit("sweep.sbatch", **array).returncode != 0


def test_ppo_asks_the_reward_server_of_the_other_node(submit, tmp_path: Path):
    done = submit("ppo-two-nodes.sbatch", CONFIG="c.yaml", REWARD="reward-hh")
    assert done.returncode == 0, done.stderr
    server, ppo = sorted((tmp_path / "calls").read_text().splitlines(), key=lambda line: "train" in line)
    assert "--nodelist=node2" in server
    assert "appliance serve-reward reward-hh --host 0.0.0.0 --port 5555 --token-file" in server
    assert "--nodelist=node1" in ppo
    assert "--set reward.url=http://node2:5555/score --set reward.token_file=" in ppo
    known(server.partition("appliance serve-reward")[2].split(), serve_reward)
    known(ppo.partition("appliance train")[2].split(), train)
    assert list((tmp_path / "data").iterdir()) == []  # the token is gone


def test_ppo_does_not_begin_without_the_server(submit, tmp_path: Path):
    done = submit("ppo-two-nodes.sbatch", CONFIG="c.yaml", REWARD="reward-hh", ANSWERS="1", SERVER="dies", NAP="0.2")
    assert done.returncode == 1
    assert "the reward server ended" in done.stderr
    assert "train" not in (tmp_path / "calls").read_text()
    assert list((tmp_path / "data").iterdir()) == []


def test_the_recipe_that_the_script_names_has_its_reward_over_http(repository: Path):
    assert yaml.safe_load((repository / "configs/ppo-hh-2b.yaml").read_text())["reward"]["source"] == "http"


def test_a_process_for_each_task_knows_its_rank_and_where_the_first_one_is(submit, tmp_path: Path):
    done = submit("train-nodes.sbatch", STAGE="sft", CONFIG="c.yaml", RUN="run", SLURM_NTASKS="4")
    assert done.returncode == 0, done.stderr
    call, told = (tmp_path / "calls").read_text().splitlines()
    assert call.endswith("train sft --config c.yaml --run-dir run --resume")
    assert "RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID exec appliance train" in call
    known(call.partition(" train sft ")[2].split(), train)
    assert told == "4 node1 20007"


def test_jobs_come_back_and_are_told_before_their_time_is_over(provisioning: Path):
    for script in (provisioning / "slurm").glob("*.sbatch"):
        text = script.read_text()
        assert "#SBATCH --requeue\n" in text
        assert "#SBATCH --signal=TERM@180\n" in text
        assert "--resume" in text
