"""The tools that load one replica in turn: our load actor, MLPerf LoadGen and wrk."""
