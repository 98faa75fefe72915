module garrison.dev/bench/agents

go 1.25
