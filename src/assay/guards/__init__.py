"""The guards' measurements: plain numbers in, one record out. They import neither torch nor a stage."""
