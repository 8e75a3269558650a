"""Binding a venv to an interpreter of the host: the few files that hold an absolute path.

``bin/python`` and its two other names, ``pyvenv.cfg``, and the activation scripts of shells that
cannot find their own place. Nothing of it needs network, pip or virtualenv.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from manifests.layout import NAME_PLACEHOLDER, PREFIX_PLACEHOLDER, TEMPLATES

_QUOTES = {
    ".csh": (("'", "'\\''"), ("!", "'\\!'")),
    ".xsh": (("\\", "\\\\"), ("'", "\\'")),
}


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What a venv is bound to: the interpreter, and the path under which it will be known."""

    executable: Path
    version: str
    python_name: str
    destination: Path

    def links(self) -> dict[str, str]:
        """Return the interpreter links, by path in the venv."""
        return {
            "bin/python": str(self.executable),
            "bin/python3": "python",
            f"bin/{self.python_name}": "python",
        }

    def files(self, venv: Path) -> dict[str, bytes]:
        """Return the bound files' contents, by path; the templates are read from *venv*."""
        config = (
            f"home = {self.executable.parent}\n"
            "include-system-site-packages = false\n"
            f"version = {self.version}\n"
            f"executable = {self.executable}\n"
        )
        files = {"pyvenv.cfg": config.encode("utf-8")}
        folder = venv / TEMPLATES
        for template in sorted(folder.iterdir()) if folder.is_dir() else []:
            text = template.read_text(encoding="utf-8")
            files[f"bin/{template.name}"] = self._filled(text, template.suffix).encode("utf-8")
        return files

    def _filled(self, text: str, shell: str) -> str:
        """Fill a template. Its placeholders stand inside single quotes of the shell (nu: a raw string)."""
        for placeholder, value in (
            (PREFIX_PLACEHOLDER, str(self.destination)),
            (NAME_PLACEHOLDER, self.destination.name),
        ):
            for plain, quoted in _QUOTES.get(shell, ()):
                value = value.replace(plain, quoted)  # noqa: PLW2901
            text = text.replace(placeholder, value)
        return text


def bind(venv: Path, binding: Binding) -> None:
    """Write all bound files into *venv*, a staged tree. Raises OSError."""
    for path, target in binding.links().items():
        (venv / path).symlink_to(target)
    for path, content in binding.files(venv).items():
        file = venv / path
        file.write_bytes(content)
        file.chmod(0o644)


def differences(venv: Path, binding: Binding) -> list[str]:
    """Return the paths whose binding is not as *binding* says, or whose interpreter is gone."""
    wrong = [path for path, target in binding.links().items() if _link(venv / path) != target]
    if not binding.executable.is_file():
        wrong.append(str(binding.executable))
    for path, content in binding.files(venv).items():
        try:
            if (venv / path).read_bytes() != content:
                wrong.append(path)
        except OSError:
            wrong.append(path)
    return wrong


def _link(path: Path) -> str | None:
    try:
        return str(path.readlink())
    except OSError:
        return None
