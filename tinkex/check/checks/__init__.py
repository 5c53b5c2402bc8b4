"""The checks: a module for each theme. Functions named ``judge_...`` are pure, over what was observed."""
