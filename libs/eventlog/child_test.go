package eventlog

const childRole = "FRESHET_EVENTLOG_CHILD"

func childMain() {}
