"""What a user is meant to read has two parts; what stopped a run on purpose is no error of that kind."""

import pytest

from appliance.errors import ApplianceError, ConfigError, DataError, ModelError, StoppedByUser


@pytest.mark.parametrize("kind", [ApplianceError, ConfigError, DataError, ModelError])
def test_an_error_says_what_happened_and_what_to_do(kind):
    error = kind("a.yaml: seed is -1", "write 0 or more")
    assert (error.what, error.fix) == ("a.yaml: seed is -1", "write 0 or more")
    assert str(error) == "a.yaml: seed is -1\n  fix: write 0 or more"
    assert isinstance(error, ApplianceError)


def test_an_error_without_a_fix_cannot_be_made():
    with pytest.raises(TypeError):
        ApplianceError("what")


def test_a_stop_knows_its_checkpoint_and_is_not_an_error_to_mend():
    stop = StoppedByUser("checkpoints/step-000002")
    assert stop.checkpoint == "checkpoints/step-000002"
    assert StoppedByUser(None).checkpoint is None
    assert not isinstance(stop, ApplianceError)
