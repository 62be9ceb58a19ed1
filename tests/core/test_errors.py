import pytest

from sysgym.core.errors import InputFileError, SettingError, UnknownNameError, require_range


def test_a_file_error_names_the_place():
    error = InputFileError("log.swf", "a number was expected", line=7, column="run_time")
    assert str(error) == "log.swf, line 7, column run_time: a number was expected"


def test_an_unknown_name_offers_the_nearest_or_all():
    assert str(UnknownNameError("policy", "eazy", ["easy", "fcfs"])) == "unknown policy 'eazy'; did you mean easy?"
    assert str(UnknownNameError("policy", "zzz", ["fcfs", "easy"])) == "unknown policy 'zzz'; known: easy, fcfs"


@pytest.mark.parametrize(("value", "options"), [(0, {"low": 1}), (0, {"low": 0, "open_low": True}),
                                                (3, {"high": 2}), (float("nan"), {})])  # fmt: skip
def test_numbers_out_of_range_are_refused(value, options):
    with pytest.raises(SettingError, match="jobs is"):
        require_range("jobs", value, **options)


def test_numbers_in_range_pass():
    require_range("jobs", 1, 1, 1)
    require_range("load", 1e-9, 0, open_low=True)
