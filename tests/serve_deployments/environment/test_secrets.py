"""Secrets of a model: a reference everywhere but in the model that is built, and in no words of a failure."""

import json
import os
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_deployments.endpoint import DescribedError, first_line
from serve_deployments.environment import secrets
from serve_deployments.environment.secrets import BadSecret, revealed, secrets_in
from serve_deployments.models.context import ModelContext, ModelError
from serve_deployments.models.model import Builder, load
from serve_deployments.settings import Settings


def told(key, deep):
    """A builder that says what it was given, and one whose failure does."""
    if deep == "fails":
        raise ValueError(f"the server refused {key}")
    return lambda payloads: [[key, deep] for _ in payloads]


ARGS = {"key": {"secret": "MY_KEY"}, "deep": [{"of": {"secret": "MY_KEY"}}, {"of": "x", "size": 1}]}


def test_a_model_gets_the_secret_and_its_settings_keep_the_reference(monkeypatch):
    monkeypatch.setenv("MY_KEY", "very secret")
    settings = Settings(args=ARGS)
    answer = load(Builder(f"{__name__}:told"), settings.args, ModelContext())
    assert answer(["x"]) == [["very secret", [{"of": "very secret"}, {"of": "x", "size": 1}]]]
    assert settings.as_dict()["args"] == ARGS and list(secrets_in(ARGS)) == ["MY_KEY", "MY_KEY"]
    assert "very secret" not in settings.placement() + repr(settings) + json.dumps(settings.ray_actor_options)


def test_no_words_of_a_failure_have_it(monkeypatch):
    monkeypatch.setenv("MY_KEY", "very secret")
    with pytest.raises(ValueError, match="refused") as failed:
        load(Builder(f"{__name__}:told"), {"key": {"secret": "MY_KEY"}, "deep": "fails"}, ModelContext())
    assert first_line(failed.value) == "ValueError: the server refused ***"


@pytest.mark.parametrize("value", ["", None])
def test_one_that_is_missing_is_a_sentence_with_its_name(monkeypatch, value):
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ModelError, match="the environment variable MY_KEY, which holds a secret of the model, is not"):
        load(Builder(f"{__name__}:told"), ARGS, ModelContext())


@pytest.mark.parametrize("name", [5, "a b", "", None, ["A"], "sk-geheim", "geheim/9=="])
def test_what_can_be_no_variable_is_no_secret_and_is_not_repeated(name):
    for read in (revealed, lambda args: list(secrets_in(args))):
        with pytest.raises(BadSecret, match="`secret` needs the name of an environment variable, got") as refused:
            read({"a": [{"secret": name}]})
        assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    "value", [{"secret": "geheim", "header": "X"}, {"Secret": "geheim"}, {"SECRET ": "geheim"}, [{"a": {"sEcret": 1}}]]
)
def test_what_looks_like_a_secret_and_is_none_is_refused(value):
    for read in (revealed, lambda args: list(secrets_in(args))):
        with pytest.raises(BadSecret, match=r"a secret is \{secret: NAME\} and nothing else.*another name") as refused:
            read({"a": value})
        assert "geheim" not in str(refused.value)


def test_an_argument_may_be_called_secret(monkeypatch):
    monkeypatch.setenv("MY_KEY", "very secret")
    args = {"secret": {"secret": "MY_KEY"}, "secrets": ({"of": 1},)}
    assert revealed(args) == {"secret": "very secret", "secrets": ({"of": 1},)} and list(secrets_in(args)) == ["MY_KEY"]


# --- errors repeat a secret in other forms

FORMS = [
    str, repr, lambda s: repr(s.encode()), lambda s: repr(["'", s]), lambda s: repr("'" + s), lambda s: repr("'\"" + s),
    json.dumps, lambda s: json.dumps({"key": s}, ensure_ascii=False), quote, lambda s: quote(s, safe=""), quote_plus,
    lambda s: urlencode({"key": s}), lambda s: b64encode(s.encode()).decode(),
    lambda s: urlsafe_b64encode(s.encode()).decode(), lambda s: b64encode(s.encode()).decode().rstrip("="),
]  # fmt: skip
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0*") | st.sampled_from("\\'\"\n\t /+%")
SECRETS = st.text(CHARACTERS, min_size=12).filter(lambda secret: len(secret.strip()) > 7)


@given(secret=SECRETS, form=st.sampled_from(FORMS))
def test_no_form_of_a_secret_is_in_the_words_of_a_failure(secret, form):
    said = told_with(secret, f"<{form(secret)}>")
    assert form(secret) not in said and secret not in said and "***" in said


@given(lines=st.lists(SECRETS, min_size=2, max_size=4), form=st.sampled_from(FORMS), data=st.data())
def test_nor_is_a_line_of_one(lines, form, data):
    secret = "\n".join(lines)
    longer = [line.strip() for line in secret.splitlines() if len(line.strip()) >= 8]
    line = data.draw(st.sampled_from(longer or [secret]))
    said = told_with(secret, f"<{form(line)}>")
    assert form(line) not in said and line not in said and "***" in said


@given(secret=SECRETS, user=st.text("abc", max_size=4))
def test_nor_is_it_as_a_part_of_what_is_in_base64(secret, user):
    whole = b64encode(f"{user}:{secret}".encode()).decode()
    said = told_with(secret, f"<{whole}>")
    assert "***" in said and len(said) <= len("<***>") + (len(user) + 1) * 8 / 6 + 1 + len("X==")


def test_a_message_is_cut_after_a_secret_of_several_lines_is_taken_out():
    assert told_with("a b\nc d\ne f", "refused a b\nc d\ne f by the server\nmore") == "refused *** by the server"


def test_one_that_is_no_text_in_utf_8_is_taken_out_too():
    assert told_with("very\udc80 secret", "refused very%80%20secret") == "refused ***"


def told_with(secret, message):
    """The words of a failure with this message, in a process that has read one secret."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "_revealed", set())
        patch.setattr(os, "environ", {"MY_KEY": secret})
        revealed({"key": {"secret": "MY_KEY"}})
        return first_line(DescribedError(message))
