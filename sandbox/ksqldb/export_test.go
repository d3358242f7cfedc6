package ksqldb

import "time"

// Run plans and runs a query without a server, for properties and fuzzing.
func Run(sql string, views ...View) ([][]any, error) {
	sources, err := buildSources(views)
	if err != nil {
		return nil, err
	}
	p, err := planQuery(sql, sources, time.Unix(0, 0), planOptions{tableScan: true, rangeScan: true, limitClause: true})
	if err != nil {
		return nil, err
	}
	return p.run()
}
