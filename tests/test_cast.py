"""The cast itself: scope and roles of each person are what the story says."""

from tenants.scoping import WHOLE_NETWORK, Scope


def test_alice_sees_the_network_and_bruno_his_store(alice, bruno, lille):
    assert alice.scope == WHOLE_NETWORK
    assert bruno.scope == Scope.of([lille.pk])


def test_nobody_is_above_the_role_table(diane):
    assert diane.has_perm("network.add_store")
    assert not diane.has_perm("tenants.add_brand")
