"""From config to the arguments of trl, peft, DeepSpeed and process launchers, each validated by its owner."""
