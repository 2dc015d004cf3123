"""contracts.names: customers' names, and what is made of them, within AWS IoT's limits."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from contracts import names

environments = st.from_regex(names.ENVIRONMENT_PATTERN, fullmatch=True)
things = st.from_regex(names.THING_NAME_PATTERN, fullmatch=True)
customers = st.from_regex(names.CUSTOMER_PATTERN, fullmatch=True)
owners = st.tuples(things, customers)


@pytest.mark.parametrize(
    "customer",
    [
        *("", "a/b", "+", "#", "$aws", "*", "?", "${iot:ClientId}"),
        *("a.b", "..", "a_b", "a:b", "a b", "a\n", "\0", "é", "a" * 65),
    ],
)
def test_a_customers_name_is_one_plain_level_of_a_topic(customer: str) -> None:
    with pytest.raises(ValueError, match="expected a customer's name"):
        names.check_customer("dev", "sensor-1", customer)


def test_names_too_long_for_a_policys_name_are_refused() -> None:
    assert names.check_customer("dev", "t" * 54, "c" * 60) == "c" * 60
    with pytest.raises(ValueError, match="at most 128 characters, got 129"):
        names.check_customer("dev", "t" * 55, "c" * 60)


@given(environments, things, customers)
def test_what_is_allowed_fits_client_id_policy_name_and_topic(
    environment: str, thing: str, customer: str
) -> None:
    try:
        names.check_customer(environment, thing, customer)
    except ValueError:
        assume(False)
    policy = names.customer_policy_name(environment, thing, customer)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", policy)  # fewer than AWS IoT allows
    # https://docs.aws.amazon.com/general/latest/gr/iot-core.html#message-broker-limits
    assert len(names.client_id(thing, customer)) <= 128
    longest_channel = "c" * 32
    assert len(names.topic(environment, thing, longest_channel, customer)) <= names.MAX_TOPIC_BYTES


@given(environments, owners, owners)
def test_no_two_customers_share_a_client_id_or_a_policy(
    environment: str, one: tuple[str, str], other: tuple[str, str]
) -> None:
    assume(one != other)
    assert names.client_id(*one) != names.client_id(*other)
    assert names.customer_policy_name(environment, *one) != names.customer_policy_name(
        environment, *other
    )


@given(environments, things, customers)
def test_a_customers_policy_tells_whose_it_is(environment: str, thing: str, customer: str) -> None:
    policy = names.customer_policy_name(environment, thing, customer)
    assert names.customer_of_policy(environment, policy) == (thing, customer)
    assert names.customer_of_policy(f"x{environment}", policy) is None


@given(things, things, customers)
def test_no_customer_has_the_client_id_of_a_thing(thing: str, other: str, customer: str) -> None:
    assert names.client_id(thing, customer) != names.client_id(other)


@pytest.mark.parametrize(
    "policy",
    ["dev_device", "dev_customer_", "dev_customer_a", "dev_customer_a_b_c", "dev_customer_a_b.c"],
)
def test_other_policies_are_nobodys(policy: str) -> None:
    assert names.customer_of_policy("dev", policy) is None
