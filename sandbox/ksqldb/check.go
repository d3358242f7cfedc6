package ksqldb

import "time"

// Check plans a pull query without a server and returns the columns of its
// answer, or the refusal that a Server with these views and the default
// settings would send. A test of a file full of SQL needs no more.
func Check(sql string, views ...View) ([]Column, error) {
	sources, err := buildSources(views)
	if err != nil {
		return nil, err
	}
	p, err := planQuery(sql, sources, time.Unix(0, 0), planOptions{tableScan: true, rangeScan: true, limitClause: true})
	if err != nil {
		return nil, err
	}
	columns := make([]Column, len(p.columns))
	for i, c := range p.columns {
		columns[i] = Column{Name: c.name, Type: c.typ.String(), Key: c.key}
	}
	return columns, nil
}
