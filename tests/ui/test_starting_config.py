"""From the choices of the Start tab to a config, a queue of one or two runs, and what is refused on the way."""

import json

import numpy
import pytest
import yaml
from safetensors.numpy import save_file

from appliance.config import load
from appliance.errors import ApplianceError, ConfigError
from appliance.store import runs, users
from appliance.ui import starting_config, starting_draft, starting_goal, starting_prompts, starting_size
from appliance.ui.starting_draft import Draft, like
from appliance.worker.job import command

GPT2 = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "n_layer": 2,
    "n_embd": 8,
    "n_head": 2,
    "n_positions": 128,
    "vocab_size": 16,
}
CLASSIFIER = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "bad", "1": "good"}}


@pytest.fixture
def member(store):
    return users.add(store, "anna", "correct horse battery", "trainer")


def model(settings, name, config, *, reward=None, pickle=False):
    folder = settings.models / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    if pickle:
        (folder / "pytorch_model.bin").write_text("x")
    else:
        save_file({"transformer.wte.weight": numpy.zeros((16, 8), "float32")}, folder / "model.safetensors")
    if reward is not None:
        (folder / "reward.json").write_text(json.dumps(reward))
    return str(folder)


@pytest.fixture
def chosen(store, settings, member):
    """A draft with prompts, a starting model and a reward model."""
    kept = starting_prompts.keep_text(store, "".join(f"prompt number {n}\n" for n in range(40)), "p.txt", member.id)
    policy = model(settings, "small", GPT2)
    scorer = model(settings, "kind", {"architectures": ["DistilBertForSequenceClassification"]}, reward={"mean": 0})
    return starting_draft.change(store.data, member.id, dataset=kept.id, policy=policy, models={scorer: {}})


def test_a_draft_survives_and_a_damaged_one_is_begun_anew(store, member):
    first = starting_draft.read(store.data, member.id)
    assert starting_draft.read(store.data, member.id).key == first.key
    starting_draft.change(store.data, member.id, size="quick", step=2)
    assert starting_draft.read(store.data, member.id).size == "quick"
    with pytest.raises(ConfigError, match="size"):
        starting_draft.change(store.data, member.id, size="huge")
    (store.data / "drafts" / str(member.id) / "draft.json").write_text("{")
    assert starting_draft.read(store.data, member.id).step == 0


def test_the_yaml_is_what_appliance_train_takes(store, settings, member, chosen, tmp_path):
    built = starting_config.build(store, settings, member, chosen)
    file = tmp_path / "c.yaml"
    file.write_text(built.yaml)
    assert load(file, stage="ppo") == built.config
    assert built.config.reward["source"] == "trained"
    assert built.config.batch.steps == 40
    # 40 prompts: an eighth each to test on and for the report
    assert (built.config.evaluation.prompts, built.config.evaluation.report_prompts) == (5, 5)
    # the longest prompt has 16 bytes; the model reads 128 tokens, of which an answer takes 24
    assert built.config.prompts.keep_tokens.high == 17


def test_several_scorers_are_a_blend_with_weights(store, settings, member, chosen):
    scorer = next(iter(chosen.models))
    draft = starting_draft.change(
        store.data,
        member.id,
        models={scorer: {"weight": 0.5}},
        rules=("words", "length"),
        good_words="kind, lovely",
        rule_weights={"length": 2},
    )
    reward = starting_config.build(store, settings, member, draft).config.reward
    assert reward["source"] == "blend"
    found = [(one["source"], one["weight"], one["normalize"]) for one in reward["sources"]]
    assert found == [("trained", 0.5, True), ("keyword", 1.0, False), ("length", 2.0, False)]


def test_a_classifier_needs_its_good_label(store, settings, member, chosen):
    judge = model(settings, "judge", CLASSIFIER)
    draft = starting_draft.change(store.data, member.id, models={judge: {}})
    with pytest.raises(ConfigError, match="no good one"):
        starting_config.build(store, settings, member, draft)
    draft = starting_draft.change(store.data, member.id, models={judge: {"label": "good"}})
    assert starting_config.build(store, settings, member, draft).config.reward["label"] == "good"


def test_what_cannot_be_used_is_listed_with_the_reason(store, settings, chosen):
    model(settings, "old", GPT2, pickle=True)
    found = starting_goal.choices(settings, store, device=(False, 8.0))
    assert ["pickle" in line for line in found.unusable] == [True]
    assert "fits: " in next(title for title, value in found.policies if value == chosen.policy)
    tight = starting_goal.choices(settings, store, device=(False, 0.5))
    assert any("does not fit" in line for line in tight.unusable)


def test_a_missing_step_is_named(store, settings, member):
    for values, words in (({}, "starting model"), ({"policy": model(settings, "s", GPT2)}, "no scorer")):
        draft = starting_draft.change(store.data, member.id, **values)
        with pytest.raises(ApplianceError, match=words):
            starting_config.build(store, settings, member, draft)


def test_another_users_upload_cannot_be_named(store, settings, chosen):
    other = users.add(store, "ben", "correct horse battery", "trainer")
    with pytest.raises(ApplianceError, match="no such upload"):
        starting_config.build(store, settings, other, chosen)


def test_start_twice_is_one_run(store, settings, member, chosen):
    run, new = starting_config.start(store, settings, member, chosen.key)
    same, again = starting_config.start(store, settings, member, chosen.key)
    assert (new, again, run.id) == (True, False, same.id)
    assert len(runs.list_runs(store)) == 1
    with pytest.raises(ApplianceError, match="older state"):
        starting_config.start(store, settings, member, "another key")
    renewed = starting_draft.go_to(store.data, member.id, 3)
    assert renewed.key != chosen.key
    assert renewed.started is None


def test_the_example_makes_its_models_first_and_the_training_waits(store, settings, member):
    kept = starting_prompts.keep_text(store, "".join(f"film {n}\n" for n in range(200)), "f.txt", member.id)
    policy, scorer = (card.model for card in starting_goal.example_cards(starting_goal.example_folder(store)))
    draft = starting_draft.change(
        store.data, member.id, example=True, dataset=kept.id, policy=policy, models={scorer: {}}
    )
    run, _ = starting_config.start(store, settings, member, draft.key)
    first, second = runs.queue(store)
    assert (first.stage, second.id, second.parent_id) == ("example", run.id, first.id)
    assert command(first, store.data / "x.yaml")[-4:] == ["demo", "--models-only", "--out", first.folder]
    values = yaml.safe_load(run.config)
    assert values["policy"]["model"] == f"{first.folder}/sft/model"
    assert values["kl"]["adaptive"] is False
    assert runs.claim(store, "one").id == first.id
    assert runs.claim(store, "two") is None  # a second worker does not start it before its models are there
    runs.finish(store, first.id, "done")
    assert runs.claim(store, "two").id == second.id


def test_an_example_that_failed_goes_on(store, member):
    made = starting_config.make_example(store, member)
    runs.claim(store, "one")
    runs.finish(store, made, "failed", message="x")
    assert starting_config.make_example(store, member) == made
    assert runs.get(store, made).state == "queued"


def test_only_the_example_config_passes_as_one():
    with pytest.raises(ConfigError):
        runs.check_config("stage: example\nout: /etc\n", "example")


def test_rules_score_without_torch_as_the_sources_do():
    import torch

    from appliance.config.load import part_options
    from appliance.rewards import keyword, length, pattern

    draft = Draft(
        rules=("words", "pattern", "length"),
        good_words="kind lovely",
        bad_words="dull",
        pattern=r"\bWARM\b",
        pattern_wanted=False,
        length_words=4,
    )
    text = " Kind and lovely, not dull but warm."
    found = {title: score for title, score, _ in starting_goal.rule_scores(draft, text)}
    expected = []
    for name, module in (("words", keyword), ("pattern", pattern), ("length", length)):
        section = starting_goal.rule_section(draft, name)
        part_options("rewards", section, where="x")
        options = module.Options.model_validate({key: one for key, one in section.items() if key != "source"})
        expected.append(float(module.make(options, torch.device("cpu"))([""], [text])[0]))
    # two good words less a bad one; the unwanted pattern is there; seven words are three from four
    assert list(found.values()) == pytest.approx([1.0, -1.0, -0.3])
    assert expected == pytest.approx([1.0, -1.0, -0.3])


def test_a_rule_that_is_not_filled_in_says_so():
    ((_, score, wrong),) = starting_goal.rule_scores(Draft(rules=("pattern",)), "x")
    assert score is None
    assert "empty" in wrong


def test_missing_votes_are_counted(store):
    assert "0 of 20 votes are there, 20 are missing" in starting_goal.votes_line(store)


def test_a_draft_is_seen_as_it_was_with_another_size():
    draft = Draft(settings={"seed": 3})
    assert like(draft, "quick lora") == draft.model_copy(update={"size": "quick", "train": "lora"})
    assert like(draft, "") == like(draft, "huge full") == like(draft, "quick full x") == draft


def test_changed_settings_are_kept_in_range_and_listed():
    draft = Draft()
    values = {"steps": 10**9, "learning_rate": 1.5e-4, "seed": 1.0, "kl_coef": None}
    found = starting_size.changed(values, starting_size.defaults(draft, 1000))
    assert found == {"steps": 5000}  # a tiny model's learning rate is 1.5e-4 anyway
    lines = starting_size.changed_lines(draft.model_copy(update={"settings": found}), 1000)
    assert "Steps: **5000** (default 40)" in lines


def test_time_is_estimated_from_finished_runs_of_the_same_size(store, settings, member, chosen, tmp_path):
    built = starting_config.build(store, settings, member, chosen)
    weights = 128  # 16 x 8
    assert starting_size.pace(store, weights, "full") is None
    assert "not measured yet" in starting_size.time_line(built.config, None)
    run = runs.enqueue(store, config_yaml=built.yaml, name="old", stage="ppo", owner_id=member.id, key=None)
    runs.claim(store, "one")
    runs.finish(store, run.id, "done")
    folder = store.data / "old"
    folder.mkdir()
    (folder / "timings.jsonl").write_text('{"step": 1, "seconds": 3.0, "response_tokens": 300}\n' * 3)
    known = starting_size.pace(store, weights, "full")
    assert known == starting_size.Pace(0.01, 1)
    # (40 steps x 128 + before and after: 2 x 5 prompts x 8 answers) x 24 tokens x 0.01 s = 1248 s
    assert "about **21 min**, going by one earlier run" in starting_size.time_line(built.config, known)
    assert starting_size.pace(store, weights, "lora") is None
    assert starting_size.pace(store, 10 * weights, "full") is None
