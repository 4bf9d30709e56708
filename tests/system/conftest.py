# SPDX-License-Identifier: MIT
# Fixtures. `suite` is shared by all tests that only talk to it; tests that stop, kill or starve
# processes take `own_suite`, which is theirs alone. Both fail the test that ends them when a
# process left a report behind.
import browser
import pytest
from api import Client
from people import add_product, admin_of, register
from queue_client import Queue
from suite import BUILD, Suite


def pytest_configure(config):
    missing = [
        name for name in ["sluice", "sluice-gateway", "sluice-tap"] if not (BUILD / name).exists()
    ]
    if missing:
        raise pytest.UsageError(f"{BUILD} has no {missing}: build first, or run ./tests/run system")


@pytest.fixture(scope="session")
def suite():
    """Two workers of each service and one gateway, for tests that do no harm."""
    with Suite(SLUICE_SCALE_USERS=2, SLUICE_SCALE_ORDERS=2, SLUICE_SCALE_SEARCH=2) as shared:
        yield shared.up()


@pytest.fixture
def own_suite():
    """A suite of this test's own, stopped yet: set its environment, then up()."""
    with Suite() as own:
        yield own


@pytest.fixture
def api(suite):
    """Nobody: a client without a token."""
    return Client(suite.port)


@pytest.fixture(scope="session")
def admin(suite):
    return admin_of(suite)


@pytest.fixture(scope="session")
def ada(suite):
    return register(suite.port, "Ada")


@pytest.fixture(scope="session")
def bob(suite):
    return register(suite.port, "Bob")


@pytest.fixture
def new_person(suite):
    """Makes a person that no other test knows."""
    return lambda name="Eve": register(suite.port, name)


@pytest.fixture
def new_product(admin):
    """Adds a product that no other test knows: new_product(stock=10, amount=1999)."""
    return lambda **fields: add_product(admin, **fields)


@pytest.fixture
def events(suite):
    """The queue of the shared suite."""
    with Queue(suite.queue_endpoint) as queue:
        yield queue


@pytest.fixture(scope="module")
def chromium():
    with browser.Browser() as one:
        yield one
