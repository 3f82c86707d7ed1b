"""What the hub's client raises, told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dpo.errors import DpoError, HubError, first_line
from dpo.hub import offline, why_offline


def check_name(repo_id: str) -> None:
    """Refuse what can be no repository's name, before anything is reached for.

    Raises:
        HubError: not USER/NAME, or letters that the hub does not allow.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise HubError(
            f"{repo_id!r} is no name for the hub: give USER/NAME of letters, digits, '-', '_' and '.'"
        ) from error


@contextmanager
def explained(repo_id: str, doing: str) -> Iterator[None]:
    """Turn the client's exceptions into a `HubError`; `doing` completes "cannot be ...".

    Raises:
        HubError: the hub is out of reach, knows no such repository, or refuses.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if offline():
        raise HubError(f"{repo_id} cannot be {doing} ({constants.ENDPOINT}): {why_offline()}")
    try:
        yield
    except DpoError:
        raise
    except LocalTokenNotFoundError as error:
        raise HubError(f"{repo_id} cannot be {doing}: log in first with hf auth login, or set HF_TOKEN") from error
    except GatedRepoError as error:
        raise HubError(f"{repo_id} is gated: ask for access on its page, then log in with hf auth login") from error
    except RepositoryNotFoundError as error:
        raise HubError(f"The hub has no model {repo_id} that you may read: check the name, or log in") from error
    except RevisionNotFoundError as error:
        raise HubError(f"{repo_id} has no such revision: check --revision") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403):
            raise HubError(
                f"{repo_id} cannot be {doing}: the hub refuses ({status}); log in with hf auth login, "
                "with a token that may write there"
            ) from error
        raise HubError(f"{repo_id} cannot be {doing}: {first_line(error)}") from error
    except Exception as error:  # connections and the transfer library fail with types of their own
        raise HubError(f"{repo_id} cannot be {doing}: {first_line(error)}; try again") from error
