"""Which prompts the starting policy is asked, how many responses it writes, and what the scores are brought to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from appliance.config import RewardConfig
from appliance.config.ppo import Lora
from appliance.data.preferences import Ranking
from appliance.errors import ApplianceError, DataError
from appliance.models.adapters import with_adapters
from appliance.models.loading import load_policy_model
from appliance.stages.reward_scale import Samples, held_out_samples, policy_samples, scale

HELD_OUT = [Ranking(f"w{i} w{i + 1}", ("w50", "w60"), (1, 2)) for i in range(5)]


@pytest.fixture
def written(folder_of: Callable[[str], Path], precision: Any) -> Callable[..., Samples]:
    """written(rankings, samples=..., prompts=...): what the tiny policy writes."""

    def make(rankings: list[Ranking] = HELD_OUT, seed: int = 1, **section: Any) -> Samples:
        values = {"policy": {"model": str(folder_of("gpt2"))}, "samples": 12, "response_tokens": [2, 5]} | section
        config = RewardConfig.model_validate(
            {"model": {"model": "m"}, "data": {"source": "p.jsonl"}, "normalization": values, "seed": seed}
        )
        assert config.normalization is not None
        return policy_samples(config.normalization, config, rankings, precision)

    return make


def test_every_prompt_is_asked_equally_often_and_the_seed_decides(written):
    found = written()
    assert len(found.responses) == 12
    assert sorted(map(found.prompts.count, set(found.prompts))) == [2, 2, 2, 3, 3]  # 12 over 5
    assert set(found.prompts) == {ranking.prompt for ranking in HELD_OUT}
    assert written() == found
    assert written(seed=2).responses != found.responses
    assert found.measured_on["prompts"] == "p.jsonl"
    assert found.measured_on["response_tokens"] == [2, 5]


def test_prompts_of_a_file_go_before_those_of_the_preferences(written, tmp_path):
    file = tmp_path / "p.txt"
    file.write_text("w1 w2 w3 w4\nw5\nw6 w7\n")
    found = written(prompts={"source": str(file), "keep_tokens": [2, 9], "length_tokens": [2, 2]})
    assert set(found.prompts) == {"w1 w2", "w6 w7"}
    assert found.measured_on["prompts"] == str(file)


def test_held_out_prompts_that_the_policy_cannot_read_are_left_out(written):
    long = Ranking(" ".join(["w1"] * 61), ("w50", "w60"), (1, 2))  # 61 and 5 of response are over 64 positions
    assert long.prompt not in written([*HELD_OUT, long]).prompts
    with pytest.raises(DataError, match=r"p\.jsonl: no prompt is left for the normalization \(1 prompt"):
        written([long])


def test_the_held_out_responses_are_each_counted_once():
    found = held_out_samples([Ranking("p", ("a", "b", "c"), (1, 2, 2)), Ranking("", ("d", "e"), (2, 1))])
    assert found.prompts == ["p", "p", "p", "", ""]
    assert found.responses == ["a", "b", "c", "d", "e"]
    assert found.measured_on == {"what": "the held-out responses", "samples": 5}


def test_mean_and_std_are_of_all_samples_and_equal_scores_have_std_1():
    samples = Samples(["p"] * 4, ["a", "b", "c", "d"], {"what": "these", "samples": 4})
    # 1 3 5 7: mean 4, squares of 3 1 1 3 -> sqrt(20 / 4)
    found = scale(lambda prompts, responses: torch.tensor([1.0, 3.0, 5.0, 7.0]), samples)
    assert found == {"mean": 4.0, "std": pytest.approx(5**0.5), "measured_on": samples.measured_on}
    assert scale(lambda prompts, responses: torch.full((4,), 2.5), samples)["std"] == 1.0


def test_a_score_that_is_not_finite_is_no_scale():
    samples = Samples(["p"] * 2, ["a", "b"], {"what": "these", "samples": 2})
    with pytest.raises(ApplianceError, match="the reward model gave nan for 1 of 2 texts, first 'pb'"):
        scale(lambda prompts, responses: torch.tensor([1.0, float("nan")]), samples)


def test_the_starting_policy_may_go_on_from_an_adapter(written, folder_of, tmp_path):
    lm = load_policy_model(str(folder_of("gpt2")), None).model
    adapted = with_adapters(lm, Lora(rank=2, alpha=16))
    with torch.no_grad():
        for name, weights in adapted.named_parameters():
            if "lora_B" in name:
                weights.fill_(0.5)
    adapted.save_pretrained(tmp_path / "adapter")
    policy = {"model": str(folder_of("gpt2"))}
    found = written(policy=policy | {"adapter": str(tmp_path / "adapter")})
    assert found.prompts == written(policy=policy).prompts
    assert found.responses != written(policy=policy).responses
    assert found.measured_on["adapter"] == str(tmp_path / "adapter")


def test_an_encoder_decoder_s_prompts_end_before_its_responses(written, folder_of):
    found = written(policy={"model": str(folder_of("t5"))})
    assert all(prompt.endswith(" ") for prompt in found.prompts)
