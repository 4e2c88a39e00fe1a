#!/usr/bin/env bash
# Installs what compiles CUDA sources where there is no CUDA toolkit and no GPU: nvcc and headers, from Python wheels, into .cuda-toolkit/.
# Prints the folder to use as CUDA_HOME. Of cuBLASLt only the headers are kept: the library is found when a program runs.
set -euo pipefail
cd "$(dirname "$0")/.."
version='13.0.*'
home=$PWD/.cuda-toolkit

if [ ! -e "$home/complete" ]; then
  rm -rf "$home"
  mkdir -p "$home/wheels"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$home/wheels" \
    "nvidia-cuda-nvcc==$version" "nvidia-cuda-crt==$version" "nvidia-nvvm==$version" "nvidia-cuda-runtime==$version" \
    "nvidia-cuda-cccl==$version" "nvidia-cublas==$version"
  python3 - "$home" <<'PYTHON'
import glob, os, sys, zipfile

home = sys.argv[1]
for path in glob.glob(f"{home}/wheels/*.whl"):
    with zipfile.ZipFile(path) as wheel:
        for name in wheel.namelist():
            place = name.removeprefix("nvidia/cu13/")
            if place == name or ("cublas" in path and not place.startswith("include/")):
                continue
            wheel.extract(name, f"{home}/unpacked")
            os.makedirs(os.path.dirname(f"{home}/{place}"), exist_ok=True)
            os.replace(f"{home}/unpacked/{name}", f"{home}/{place}")
PYTHON
  rm -rf "$home/wheels" "$home/unpacked"
  find "$home/bin" "$home/nvvm/bin" -type f -exec chmod +x {} +
  # nvcc looks for libraries in lib64, wheels put them in lib.
  [ -e "$home/lib64" ] || ln -s lib "$home/lib64"
  touch "$home/complete"
fi
echo "$home"
