"""Where unpacked members are written: below a directory that nobody else can enter."""

from __future__ import annotations

import os
from collections.abc import Iterable

from manifests.errors import VerificationFailed


class StagedFiles:
    """Writes members below a directory descriptor. One worker's; several share the directory.

    There is no symbolic link below the root while files are written (links come last, and nobody
    else can enter), so paths cannot lead outside; O_EXCL and O_NOFOLLOW hold that against surprises.
    The caller's umask is 022 and the root has no default ACL, so that ``open`` sets exact modes.
    """

    _CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    _ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

    def __init__(self, root_fd: int, hidden: frozenset[str]) -> None:
        self._root_fd = root_fd
        self._hidden = hidden
        self.links: dict[str, str] = {}
        self._folder = ""
        self._folder_fd = root_fd

    def directory(self, path: str) -> None:
        """Make a directory, or find it; see read_members."""
        try:
            os.mkdir(path, 0o755, dir_fd=self._root_fd)
        except FileExistsError:
            self._enter(path)  # another layer has it too: make sure that it is a directory
        except (FileNotFoundError, NotADirectoryError):
            raise VerificationFailed(f"{path}: there is no directory yet that could hold it") from None

    def link(self, path: str, target: str) -> None:
        """Note a link, which is made when all files are there."""
        if path in self.links:
            raise VerificationFailed(f"{path}: a link that stands twice")
        if path not in self._hidden:
            self.links[path] = target

    def file(self, folder: str, name: str, mode: int, content: Iterable[memoryview]) -> None:
        """Write a file that must be new. Raises VerificationFailed, OSError."""
        if self._hidden and f"{folder}/{name}" in self._hidden:
            for _ in content:
                pass
            return
        if folder != self._folder:
            self._enter(folder)
        try:
            self._write(folder, name, mode, content)
        except FileExistsError:
            raise VerificationFailed(
                f"{folder}/{name}: a second layer holds it, which the manifest does not say"
            ) from None

    def _write(self, folder: str, name: str, mode: int, content: Iterable[memoryview]) -> None:
        descriptor = os.open(name, self._CREATE, mode, dir_fd=self._folder_fd)
        try:
            for part in content:
                done = os.write(descriptor, part)
                while done < len(part):
                    done += os.write(descriptor, part[done:])
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Give up the directory that was written to last."""
        if self._folder_fd != self._root_fd:
            os.close(self._folder_fd)
            self._folder, self._folder_fd = "", self._root_fd

    def _enter(self, folder: str) -> None:
        self.close()
        if folder:
            try:
                self._folder_fd = os.open(folder, self._ENTER, dir_fd=self._root_fd)
            except FileNotFoundError:
                raise VerificationFailed(f"{folder}: files come before their directory") from None
            except NotADirectoryError:
                raise VerificationFailed(f"{folder}: a file and a directory of one name") from None
            self._folder = folder
