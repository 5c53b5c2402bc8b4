"""Installation: the official SDK's own sampling clients sample through tinkex."""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import attrs

from tinkex import ClientConfig, ServiceClient
from tinkex._concurrency.fork_locks import new_lock
from tinkex.compat._errors import official_errors
from tinkex.compat._future import CompatFuture
from tinkex.compat._requests import to_retry_config
from tinkex.compat._sampling_client import CompatSamplingClient
from tinkex.compat._sdk import official
from tinkex.config import config_from_env
from tinkex.errors import CredentialError

_CLIENT = "_tinkex_client"  # the attribute of an SDK's client that holds ours


def install(api_key: str | None = None, *, config: ClientConfig | None = None) -> None:
    """Have every `tinker.SamplingClient` of this process sample through tinkex, until `uninstall()`.

    That is `sample` and `compute_logprobs`, and what calls them. Clients that exist already are included, and so are
    those that training clients hand out; what wraps these methods, as the cookbook's capture and tracing do, keeps
    seeing the calls. A second call with equal arguments changes nothing. Forked children have it installed, spawned
    processes call it themselves. Safe in any thread.

    Args:
        api_key: The key to sample with. None: that of the environment, which is used only for the server that the
            environment, or the default, names.
        config: Further settings of tinkex; its base URL does not count.

    Raises:
        RuntimeError: It is installed already, under another key or with other settings; or something has taken the
            place of the SDK's methods so that they cannot be found.
    """
    made = Installation(api_key, config)
    with _installing:
        if Installation.current is None:
            made.replace_methods()
            Installation.current = made
        elif Installation.current != made:
            raise RuntimeError("tinkex.compat is installed with another key or other settings: call uninstall() first")


def uninstall(timeout: float = 30.0) -> None:
    """Have `tinker.SamplingClient` sample by itself again. Samples under way have `timeout` seconds to end.

    Does nothing where nothing is installed.
    """
    with _installing:
        ended, Installation.current = Installation.current, None
        if ended is None:
            return
        ended.restore_methods()
    for service in list(ended.services.values()):
        service.close(timeout)


@attrs.frozen
class Installation:
    """What the SDK's clients sample with: one service for each server. Two are equal if they do it alike."""

    current: ClassVar[Installation | None] = None

    api_key: str | None = attrs.field(repr=False)
    config: ClientConfig | None
    services: dict[str, ServiceClient] = attrs.field(factory=dict, init=False, eq=False)
    undo: list[Callable[[], None]] = attrs.field(factory=list, init=False, eq=False)

    def replace_methods(self) -> None:
        """Put ours in the place of the SDK's: of all, or of none."""
        try:
            for name, method in _METHODS.items():
                self.undo.append(_replace(name, method))
        except BaseException:
            self.restore_methods()
            raise

    def restore_methods(self) -> None:
        """Give the SDK its methods back."""
        for undo in self.undo:
            undo()

    def client_of(self, client: Any) -> CompatSamplingClient:
        """The client that samples for one of the SDK's: made once, and kept with it."""
        known = vars(client).get(_CLIENT)
        if known is None or known[0] is not self:
            with official_errors():
                vars(client)[_CLIENT] = known = self, self._attach(client)
        made: CompatSamplingClient = known[1]
        return made

    def _attach(self, client: Any) -> CompatSamplingClient:
        """A client of the same sampling session; nothing is sent."""
        fields = json.loads(base64.urlsafe_b64decode(client.get_sampler_handle()))
        creation = self._service_of(fields["holder"]["base_url"]).create_sampling_client_async(
            sampling_session_id=fields["sampling_session_id"],
            record_stability_info=fields["record_stability_info"],
            retry_config=to_retry_config(client.retry_handler.config),
        )
        return CompatSamplingClient(creation)

    def _service_of(self, base_url: str) -> ServiceClient:
        service = self.services.get(base_url)
        if service is None:
            named = config_from_env().base_url
            if self.api_key is None and (self.config is None or self.config.api_key is None) and named != base_url:
                raise CredentialError(
                    f"The client is of {base_url}, and the environment's key is for {named}: pass api_key to install()."
                )
            made = ServiceClient(base_url=base_url, api_key=self.api_key, config=self.config)
            service = self.services.setdefault(base_url, made)
        return service


_installing = new_lock()  # guards Installation.current, and the SDK's methods


def _sample(self: Any, *args: Any, **options: Any) -> CompatFuture[Any]:
    return _client_of(self).sample(*args, **options)


def _compute_logprobs(self: Any, *args: Any, **options: Any) -> CompatFuture[list[float | None]]:
    return _client_of(self).compute_logprobs(*args, **options)


def _client_of(client: Any) -> CompatSamplingClient:
    installed = Installation.current
    if installed is None:
        raise official().TinkerError("tinkex.compat was uninstalled during the call: call again")
    return installed.client_of(client)


_METHODS = {"sample": _sample, "compute_logprobs": _compute_logprobs}  # the SDK's other methods call these


def _replace(name: str, new: Callable[..., Any]) -> Callable[[], None]:
    """Put a function in the place of one of the SDK's own, inside all that wraps it; return what undoes it.

    The SDK wraps its methods to name them in requests, others wrap them to see the calls: the innermost function
    stands in a cell of its wrapper, where the SDK itself exchanges it for deprecated methods.
    """
    owner = official().SamplingClient
    outer = vars(owner)[name]
    inner = inspect.unwrap(outer)
    if inner is outer and getattr(outer, "__module__", "").partition(".")[0] == "tinker":
        setattr(owner, name, new)
        return lambda: setattr(owner, name, outer)
    for cell in _cells(outer):
        if cell.cell_contents is inner:
            cell.cell_contents = new
            return lambda: setattr(cell, "cell_contents", inner)
    raise RuntimeError(f"tinker.SamplingClient.{name} is {outer!r}, in which the SDK's own method cannot be found")


def _cells(function: Any) -> Iterator[Any]:
    """The cells of a function and of all that it wraps."""
    while function is not None:
        yield from getattr(function, "__closure__", None) or ()
        function = getattr(function, "__wrapped__", None)
