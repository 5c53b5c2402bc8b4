"""Plug-ins for programs that find them by their entry points; this package is loaded with each of them.

`llm` finds `tinkex.plugins.llm`, inspect-ai `tinkex.plugins.inspect`. For lm-eval, which looks for none, see
`tinkex.lm_eval`.
"""
