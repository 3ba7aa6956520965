"""What holds over plain connections, holds over TLS: the same tests, whose gateways listen with TLS only. They take two
minutes; test_tls.py is what runs always."""

import pytest

# pylint: disable=unused-wildcard-import,wildcard-import
from test_hangups import *  # noqa: F403
from test_limits import *  # noqa: F403
from test_slow import *  # noqa: F403
from test_streams import *  # noqa: F403
from test_taken import *  # noqa: F403

pytestmark = pytest.mark.long

# These are about plain sockets; what they are over TLS, test_tls.py has.
del test_connections_of_one_address  # noqa: F821
del test_a_drain_completes_a_half_sent_event  # noqa: F821
del test_the_drain_does_not_wait_for_a_reader_that_is_stuck  # noqa: F821
del test_a_stuck_reader_is_let_go_after_two_heartbeats  # noqa: F821
del test_ten_thousand_ten_times_over  # noqa: F821
del test_a_reader_is_stuck_for_a_minute  # noqa: F821
del test_it_starts_only_if_the_library_reads_through_the_check  # noqa: F821
del test_it_does_not_start_with_a_library_that_shuts_taken_sockets_down  # noqa: F821


@pytest.fixture(name="gateway")
def over_tls(tls_gateway):
    return tls_gateway


@pytest.fixture(name="start_gateway")
def start_over_tls(start_tls_gateway):
    return start_tls_gateway
