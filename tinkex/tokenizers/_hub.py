"""Download and cache files of Hugging Face Hub repositories; the only importer of huggingface_hub."""

from __future__ import annotations

import pathlib

import attrs

from tinkex.tokenizers.errors import TokenizerError, TokenizerExtraError


@attrs.frozen
class HubFiles:
    """The files of one Hub repository as a `FileSource`: from the local cache, else downloaded into it."""

    model: str
    repository: str
    revision: str | None

    def file(self, name: str) -> pathlib.Path | None:
        """Return the path of a file, or None when the repository does not have it."""
        try:
            from huggingface_hub import errors
        except ImportError:
            raise TokenizerExtraError(f"{self} needs an extra. Run: pip install 'tinkex[tokenizers]'") from None
        try:
            return self._find(name)
        except TokenizerError:
            raise
        except errors.LocalEntryNotFoundError as error:
            raise TokenizerError(f"{self}: {name} {_why_unreachable()}") from error
        except errors.EntryNotFoundError:
            return None
        except errors.GatedRepoError as error:
            raise TokenizerError(f"{self} is gated: accept the terms on its page, then set HF_TOKEN.") from error
        except errors.RepositoryNotFoundError as error:
            raise TokenizerError(
                f"{self} is not on the Hugging Face Hub, or it is private:"
                " check the name, set HF_TOKEN, or pass a local path or a tokenizer object."
            ) from error
        except Exception as error:
            raise TokenizerError(f"{self}: {name} could not be fetched: {type(error).__name__}: {error}") from error

    def has_cached(self, name: str) -> bool:
        """Whether a file is on this machine already."""
        try:
            import huggingface_hub
        except ImportError:
            return False
        return isinstance(huggingface_hub.try_to_load_from_cache(self.repository, name, revision=self.revision), str)

    def _find(self, name: str) -> pathlib.Path | None:
        import huggingface_hub

        cached = huggingface_hub.try_to_load_from_cache(self.repository, name, revision=self.revision)
        if isinstance(cached, str):
            return pathlib.Path(cached)
        if cached is not None:  # a mark in the cache: the repository is known to lack the file
            return None
        self._reach(name)
        return pathlib.Path(huggingface_hub.hf_hub_download(self.repository, name, revision=self.revision))

    def _reach(self, name: str) -> None:
        """Request the file's metadata once: `hf_hub_download` retries an unreachable host for half a minute."""
        import huggingface_hub

        try:
            huggingface_hub.get_hf_file_metadata(
                huggingface_hub.hf_hub_url(self.repository, name, revision=self.revision)
            )
        except huggingface_hub.errors.HfHubHTTPError:
            raise
        except Exception as error:
            raise TokenizerError(f"{self}: {name} {_why_unreachable()}") from error

    def __str__(self) -> str:
        source = "" if self.repository == self.model else f" (from {self.repository})"
        pinned = f" at revision {self.revision}" if self.revision else ""
        return f"The tokenizer of {self.model}{source}{pinned}"


def _why_unreachable() -> str:
    from huggingface_hub import constants

    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} cannot be reached"
    return (
        f"is not in the cache ({constants.HF_HUB_CACHE}) and {reason}:"
        " connect once, or pass a local path or a tokenizer object."
    )
