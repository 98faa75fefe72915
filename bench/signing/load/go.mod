module garrison.dev/bench/load

go 1.25
