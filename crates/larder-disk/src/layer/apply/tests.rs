// Written with the torture tests.
