"""What is refused before Ray is joined: addresses of other kinds, silent ones, and warnings that would be errors."""

import sys

import pytest
import ray

from raytune_infer.errors import UserError
from raytune_infer.study.connection.session import check_session


def test_something_must_listen_at_the_address_that_is_asked_for_and_at_no_other(monkeypatch):
    asked: list[tuple[str, int]] = []

    class Answers:
        def close(self) -> None:
            pass

    def create_connection(address: tuple[str, int], timeout: float) -> Answers:
        asked.append(address)
        assert 0 < timeout <= 30
        return Answers()

    monkeypatch.setattr("socket.create_connection", create_connection)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "there:6379")
    check_session(address="here:10001", emulate=None)
    check_session(address=None, emulate=None)
    check_session(address="auto", emulate=None)
    check_session(address=None, emulate="T4:1")
    check_session(address="[::1]:6379", emulate=None)
    assert asked == [("here", 10001), ("there", 6379), ("::1", 6379)]


@pytest.mark.parametrize(
    ("address", "variable", "said"),
    [
        ("ray://127.0.0.1:10001", None, "^'ray://127.0.0.1:10001' is for Ray Client.*`ray job submit.*--address out$"),
        (None, "ray://127.0.0.1:10001", "use `ray job submit .*, or unset the variable RAY_ADDRESS$"),
        (None, "http://127.0.0.1:8265", "is the address of a Ray dashboard.*or unset the variable RAY_ADDRESS$"),
        ("https://me:secret@there/ray", None, "^'https://...@there/ray' is the address of a Ray dashboard"),
        (None, "127.0.0.1:1", "nothing answers at '127.0.0.1:1' .*or unset the variable RAY_ADDRESS to use this"),
        ("127.0.0.1:99999", None, "nothing answers at '127.0.0.1:99999' .*or leave --address out to use this machine"),
    ],
)
def test_an_address_of_another_kind_is_refused_by_what_it_is(monkeypatch, address, variable, said):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    with pytest.raises(UserError, match=said):
        check_session(address=address, emulate=None)


@pytest.mark.parametrize("option", ["error", "e", "error::DeprecationWarning", "error::Warning:"])
def test_warnings_that_would_keep_ray_from_being_imported_are_refused(monkeypatch, option):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(sys, "warnoptions", ["default", option])
    with pytest.raises(UserError, match=f"PYTHONWARNINGS={option} .* leave it out, or name your own module"):
        check_session(address=None, emulate=None)


@pytest.mark.parametrize("option", ["default", "ignore::DeprecationWarning", "error:::mine", "error::UserWarning", ""])
def test_other_filters_of_warnings_are_the_users_own(monkeypatch, option):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(sys, "warnoptions", [option])
    check_session(address=None, emulate=None)
