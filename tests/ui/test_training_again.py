"""Stop, continue, run again with changes, retry with the fix: what they write into the store."""

import pytest
import yaml

from appliance.errors import ApplianceError, ConfigError
from appliance.settings import read
from appliance.store import audit, runs, users
from appliance.store.db import open_store
from appliance.store.schema import Run
from appliance.ui import training_again

CONFIG = """\
stage: ppo
policy: {model: m}
reward: {source: length}
prompts: {source: p.txt}
batch: {rollout: 32, microbatch: 8}
kl: {coef: 0.1}
"""


@pytest.fixture
def store(tmp_path):
    made = open_store(read({"APPLIANCE_DATA": str(tmp_path)}))
    yield made
    made.close()


@pytest.fixture
def member(store):
    return users.add(store, "anna", "correct horse battery", "trainer")


def enter(store, state, **more):
    with store.session() as session:
        known = {
            "name": "kind-2",
            "stage": "ppo",
            "folder": str(store.data / "kind-2"),
            "config": CONFIG,
            "created": 1.0,
        }
        row = Run(**known | {"state": state, "step": 5, "worker_id": "w"} | more)
        session.add(row)
        session.flush()
        return row.id


def told(store):
    return [(entry.action, entry.user_name) for entry in audit.entries(store)]


def test_the_form_is_filled_from_the_config_and_its_defaults():
    assert training_again.values(CONFIG, "ppo") == [194, 1.41e-05, 0.1, 6.0, 1]
    assert training_again.adaptive(CONFIG)
    assert training_again.base_name("kind-2") == "kind"
    assert training_again.base_name("kind") == "kind"


def edit(name="kind", steps=194, rate=1.41e-05, price=0.1, target=6.0, seed=1, text=CONFIG):
    original = Run(id=1, name="kind-2", stage="ppo", config=CONFIG)
    return yaml.safe_load(training_again.edited(original, text, name, [steps, rate, price, target, seed]))


def test_only_changed_fields_are_written_over_the_text():
    assert edit() == {**yaml.safe_load(CONFIG), "name": "kind"}
    found = edit(steps=20.0, seed=7)
    assert found["batch"] == {"rollout": 32, "microbatch": 8, "steps": 20}
    assert found["seed"] == 7
    # the text says 0.3, and the field was left as it was
    assert edit(text=CONFIG.replace("coef: 0.1", "coef: 0.3"))["kl"]["coef"] == 0.3
    assert edit(text=CONFIG.replace("coef: 0.1", "coef: 0.3"), price=0.5)["kl"]["coef"] == 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": "a: [b"}, "not YAML"),
        ({"text": ""}, "empty"),
        ({"text": CONFIG.replace("coef", "coeff")}, "did you mean kl.coef"),
        ({"text": CONFIG.replace("kl: {coef: 0.1}", "kl: 3")}, "not a section"),
        ({"text": "stage: sft\n"}, "missing"),
        ({"steps": 0}, "batch.steps is 0"),
        ({"name": "../up"}, "cannot be a folder's"),
    ],
)
def test_what_cannot_run_is_a_sentence(change, said):
    with pytest.raises(ConfigError) as refused:
        edit(**change)
    assert said in refused.value.what


def test_a_new_run_knows_its_parent_and_one_click_is_one_run(store, member):
    original = runs.get(store, enter(store, "done"))
    text = training_again.edited(original, CONFIG, "kind", [20, None, None, None, None])
    made = [training_again.begin(store, member, original, text, stage="ppo", key="k") for _ in range(2)]
    assert made[0].id == made[1].id
    assert (made[0].parent_id, made[0].state, made[0].owner_id) == (original.id, "queued", member.id)
    assert yaml.safe_load(made[0].config)["batch"]["steps"] == 20


def test_a_run_out_of_memory_is_retried_with_half_the_microbatch_as_a_new_run(store, member):
    number = enter(store, "failed", cause="memory", ended=9.0)
    found = training_again.retry_of(runs.get(store, number))
    assert found.changes == {"batch.microbatch": 4}
    assert "4 texts at a time on the device instead of 8" in found.words
    made, again = (training_again.retry(store, member, number) for _ in range(2))
    assert made.id == again.id != number
    assert yaml.safe_load(made.config)["batch"]["microbatch"] == 4
    assert made.parent_id == number
    assert runs.get(store, number).state == "failed"
    assert told(store)[0] == ("retry", "anna")


def test_other_failures_have_no_fix_of_ours(store, member):
    number = enter(store, "failed", cause="disk")
    assert training_again.retry_of(runs.get(store, number)) is None
    with pytest.raises(ApplianceError):
        training_again.retry(store, member, number)
    assert training_again.retry_of(Run(stage="ppo", state="failed", cause="memory", config="stage: old")) is None
    assert training_again.retry_of(Run(stage="ppo", state="done", cause="memory", config=CONFIG)) is None


def test_continue_puts_it_into_the_queue_once(store, member):
    number = enter(store, "interrupted")
    assert [training_again.go_on(store, member, number).state for _ in range(2)] == ["queued", "queued"]
    assert told(store) == [("continue", "anna")]
    with pytest.raises(ApplianceError):
        training_again.go_on(store, member, enter(store, "done", folder="/x"))


def test_stop_is_asked_once_and_entered(store, member):
    number = enter(store, "running")
    assert [training_again.stop(store, member, number).state for _ in range(2)] == ["stopping", "stopping"]
    assert told(store) == [("stop", "anna")]
    with pytest.raises(ApplianceError):
        training_again.stop(store, member, enter(store, "running", folder="/y", worker_id=None))
