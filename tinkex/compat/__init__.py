"""Compatibility with the official SDK: programs written for `tinker` sample through tinkex, unchanged.

`SamplingClient` and `ServiceClient` stand in for the SDK's classes of the same names: they take its types, and give its
types, futures and errors. `install` has the SDK's own sampling clients sample through tinkex, also those that training
clients hand out; training stays with the SDK.

Needs the package `tinker`, which is imported with the first use, and not with this module.
"""

from __future__ import annotations

from tinkex.compat._future import CompatFuture
from tinkex.compat._install import install, uninstall
from tinkex.compat._sampling_client import CompatSamplingClient as SamplingClient
from tinkex.compat._service_client import CompatServiceClient as ServiceClient

__all__ = ["CompatFuture", "SamplingClient", "ServiceClient", "install", "uninstall"]


def __dir__() -> list[str]:
    return sorted(__all__)
