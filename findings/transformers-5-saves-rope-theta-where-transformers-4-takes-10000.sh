#!/usr/bin/env bash
# A config that transformers 5 saves keeps its rope_theta in rope_parameters only. transformers 4 reads the folder
# without a word and takes its default of 10,000: the same weights are another model there. Exits 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for package in transformers==5.23.0 transformers==4.57.6; do
  python3 -m venv "$work/$package"
  "$work/$package/bin/pip" install --quiet --disable-pip-version-check "$package"
done
"$work/transformers==5.23.0/bin/python" - "$work/model" <<'PYTHON' 2>/dev/null
import sys, transformers
transformers.LlamaConfig(rope_theta=500000.0).save_pretrained(sys.argv[1])
print("transformers", transformers.__version__, "saves rope_theta", 500000.0)
PYTHON
grep -A3 rope "$work/model/config.json"
"$work/transformers==4.57.6/bin/python" - "$work/model" <<'PYTHON' 2>"$work/said"
import sys, transformers
found = transformers.AutoConfig.from_pretrained(sys.argv[1]).rope_theta
print("transformers", transformers.__version__, "reads rope_theta", found)
sys.exit(found != 10000.0)
PYTHON
echo "said meanwhile: $(grep -i rope "$work/said" || echo nothing)"
echo "finding holds: transformers 4.57.6 reads rope_theta 10000 where 5.23.0 saved 500000"
