"""A check that a server keeps the contract of docs/till-api.md, and of what a till's own software has to cope with.

Plain HTTP from the standard library and no Django, so that it runs anywhere against anything:

    python -m loyalty.conformance --url https://brand.example/api/v1 --key KEY

`rules` holds the contract, one function a rule; `wire` is the till that asks; `report` runs and prints.
"""
