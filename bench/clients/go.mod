module garrison.dev/bench

go 1.25
