package ksqldb

import (
	"slices"
	"strings"
)

// define checks a definition as the server's analyzer does and returns the
// source that it makes.
func (c *catalogue) define(d *definition) (*source, error) {
	if err := checkProperties(d.with); err != nil {
		return nil, err
	}
	src := &source{name: d.name, created: true, readOnly: d.readOnly, topic: d.name, kind: KindStream}
	if d.table {
		src.kind = KindTable
	}
	var err error
	if d.query == nil {
		err = c.defineSource(d, src)
	} else {
		err = c.deriveSource(d, src)
	}
	if err != nil {
		return nil, err
	}
	if d.query != nil && len(src.values()) == 0 {
		return nil, refuse("The projection contains no value columns.")
	}
	if err := checkSchema(src, d.with); err != nil {
		return nil, err
	}
	if err := c.checkTopic(d, src); err != nil {
		return nil, err
	}
	src.log = new(changelog)
	src.view = c.materialize(d, src)
	return src, nil
}

// checkProperties refuses what no WITH clause may have.
func checkProperties(with map[string]literal) error {
	kinds := map[string]base{
		"KAFKA_TOPIC": typeString, "KEY_FORMAT": typeString, "VALUE_FORMAT": typeString, "FORMAT": typeString,
		"TIMESTAMP": typeString, "TIMESTAMP_FORMAT": typeString, "VALUE_DELIMITER": typeString, "KEY_DELIMITER": typeString,
		"WINDOW_TYPE": typeString, "WINDOW_SIZE": typeString, "CLEANUP_POLICY": typeString,
		"PARTITIONS": typeInteger, "REPLICAS": typeInteger, "RETENTION_MS": typeBigint, "WRAP_SINGLE_VALUE": typeBoolean,
	}
	for name, value := range with {
		want, ok := kinds[name]
		switch {
		case !ok:
			return refuse("Invalid config variable(s) in the WITH clause: %s", name)
		case value.typ.base == want, want == typeBigint && value.typ.base == typeInteger:
		default:
			return refuse("Invalid value for property %s", name)
		}
		if n, ok := value.value.(int64); ok && n <= 0 {
			return refuse("Invalid number for property %s", name)
		}
	}
	return nil
}

func property(with map[string]literal, name string) string {
	s, _ := with[name].value.(string)
	return s
}

// formats sets the formats of a source: its own, or those it inherits.
func formats(src *source, with map[string]literal, inherited *source) error {
	if inherited != nil {
		src.keyFormat, src.valueFormat = inherited.keyFormat, inherited.valueFormat
	} else {
		src.keyFormat = "KAFKA"
	}
	if both := property(with, "FORMAT"); both != "" {
		if property(with, "KEY_FORMAT")+property(with, "VALUE_FORMAT") != "" {
			return refuse("Cannot supply both 'VALUE_FORMAT' and 'FORMAT' properties, as 'FORMAT' sets both key and value formats.")
		}
		src.keyFormat, src.valueFormat = both, both
	}
	if f := property(with, "KEY_FORMAT"); f != "" {
		src.keyFormat = f
	}
	if f := property(with, "VALUE_FORMAT"); f != "" {
		src.valueFormat = f
	}
	src.keyFormat, src.valueFormat = strings.ToUpper(src.keyFormat), strings.ToUpper(src.valueFormat)
	for _, f := range []string{src.keyFormat, src.valueFormat} {
		switch f {
		case "":
			return refuse("Statement is missing the 'VALUE_FORMAT' property from the WITH clause. Either provide one or set a default via the 'ksql.persistence.default.format.value' config.")
		case "KAFKA", "JSON", "DELIMITED", "NONE":
		case "AVRO", "JSON_SR", "PROTOBUF", "PROTOBUF_NOSR":
			return beyond("the format %s", f)
		default:
			return refuse("Unknown format: %s", f)
		}
	}
	return nil
}

// defineSource reads a list of columns over a topic.
func (c *catalogue) defineSource(d *definition, src *source) error {
	if d.table && !d.readOnly {
		src.kind = KindUnmaterialized
	}
	if src.topic = property(d.with, "KAFKA_TOPIC"); src.topic == "" {
		return refuse("Missing required property \"KAFKA_TOPIC\" which has no default value.")
	}
	if len(d.columns) == 0 {
		return beyond("a source without columns, whose schema a registry would know")
	}
	for _, col := range d.columns {
		switch {
		case d.table && col.key:
			return refuse("Column `%s` is a 'KEY' column: please use 'PRIMARY KEY' for tables.", col.name)
		case !d.table && col.primary:
			return refuse("Column `%s` is a 'PRIMARY KEY' column: please use 'KEY' for streams.", col.name)
		}
		src.columns = append(src.columns, sourceColumn{col.name, col.typ, col.key || col.primary})
	}
	if d.table && len(src.keys()) == 0 {
		return refuse("Tables require a PRIMARY KEY. Please define the PRIMARY KEY.")
	}
	return formats(src, d.with, nil)
}

// checkSchema checks names, the key format and the wrapping of a schema.
func checkSchema(src *source, with map[string]literal) error {
	seen := make(map[string]bool)
	for _, col := range src.columns {
		switch {
		case isPseudoTime(col.name) && !(src.windowed && isWindowBound(col.name)), col.name == "ROWPARTITION", col.name == "ROWOFFSET":
			return refuse("`%s` is a reserved column name. You cannot use it as a name for a column.", col.name)
		case seen[col.name]:
			return refuse("Duplicate column names: `%s`", col.name)
		}
		seen[col.name] = true
	}
	if _, ok := with["WRAP_SINGLE_VALUE"]; ok && len(src.values()) != 1 {
		return refuse("'WRAP_SINGLE_VALUE' is only valid for single-field value schemas")
	}
	keys := src.keys()
	switch {
	case src.keyFormat == "KAFKA" && len(keys) > 1:
		return refuse("Key format does not support schema. format: KAFKA: only single columns are supported")
	case src.keyFormat == "NONE" && len(keys) > 0:
		return refuse("Key format does not support schema. format: NONE")
	}
	for _, key := range keys {
		t := src.columns[src.column(key)].typ
		switch t.base {
		case typeString, typeInteger, typeBigint, typeDouble:
		case typeMap:
			return refuse("Map keys, including types that contain maps, are not supported as they may lead to unexpected behavior due to inconsistent serialization.")
		default:
			if src.keyFormat == "KAFKA" {
				return refuse("Key format does not support schema. format: KAFKA: the type %s", t)
			}
		}
	}
	if at := property(with, "TIMESTAMP"); at != "" {
		i := src.column(strings.ToUpper(at))
		if i < 0 {
			return refuse("The TIMESTAMP column set in the WITH clause does not exist in the schema: '%s'", at)
		}
		if t := src.columns[i].typ.base; t != typeBigint && t != typeTimestamp && (t != typeString || property(with, "TIMESTAMP_FORMAT") == "") {
			return refuse("Timestamp column, `%s`, should be LONG(INT64), TIMESTAMP, or a String with a TIMESTAMP_FORMAT specified.", at)
		}
	}
	return nil
}

// checkTopic finds the number of partitions and holds it against a topic that
// exists.
func (c *catalogue) checkTopic(d *definition, src *source) error {
	n, _ := d.with["PARTITIONS"].value.(int64)
	known, exists := c.topics[src.topic]
	switch {
	case exists && n != 0 && known != 0 && int(n) != known:
		return refuse("A Kafka topic with the name '%s' already exists, with different partition/replica configuration than required. KSQL expects %d partitions (topic has %d)",
			src.topic, n, known)
	case exists:
		src.partitions = known
	case d.query == nil && n == 0:
		return refuse("Topic '%s' does not exist. If you want to create a new topic for the %s please re-run the statement providing the required 'PARTITIONS' configuration in the WITH clause (and optionally 'REPLICAS').",
			src.topic, strings.ToLower(src.typeName()))
	}
	if n != 0 {
		src.partitions = int(n)
	}
	if d.query != nil && exists && n == 0 && known != 0 {
		left := c.sources[d.query.from.name].partitions
		if left != 0 && left != known {
			return refuse("A Kafka topic with the name '%s' already exists, with different partition/replica configuration than required. KSQL expects %d partitions (topic has %d)",
				src.topic, left, known)
		}
	}
	if src.partitions == 0 && d.query != nil {
		src.partitions = c.sources[d.query.from.name].partitions
	}
	return nil
}

// deriveSource types the query of a CREATE ... AS SELECT.
func (c *catalogue) deriveSource(d *definition, src *source) error {
	q := d.query
	if topic := property(d.with, "KAFKA_TOPIC"); topic != "" {
		src.topic = topic
	}
	left, err := c.readable(q.from.name)
	if err != nil {
		return err
	}
	if err := formats(src, d.with, left); err != nil {
		return err
	}
	s := &scope{sources: []scopeSource{{q.from.alias, left}}}
	src.reads = []string{left.name}
	if q.join != nil {
		right, err := c.readable(q.join.right.name)
		if err != nil {
			return err
		}
		s.sources = append(s.sources, scopeSource{q.join.right.alias, right})
		src.reads = append(src.reads, right.name)
	}
	r := &derivation{scope: s, query: q, left: left, table: left.isTable()}
	if err := r.derive(); err != nil {
		return err
	}
	switch {
	case r.table && !d.table:
		return refuse("Invalid result type. Your SELECT query produces a TABLE. Please use CREATE TABLE AS SELECT statement instead.")
	case !r.table && d.table:
		return refuse("Invalid result type. Your SELECT query produces a STREAM. Please use CREATE STREAM AS SELECT statement instead.")
	}
	src.columns, src.windowed = r.columns, q.windowed
	return nil
}

// readable returns a source that a persistent query may read.
func (c *catalogue) readable(name string) (*source, error) {
	src := c.sources[name]
	switch {
	case src == nil:
		return nil, refuse("%s does not exist.", name)
	case src.windowed:
		return nil, refuse("KSQL does not support persistent queries on windowed tables.")
	}
	return src, nil
}

// derivation is the schema of a query under construction.
type derivation struct {
	scope   *scope
	query   *persistentQuery
	left    *source
	table   bool
	items   []outItem
	columns []sourceColumn
}

// outItem is an item of the SELECT list with its name and type.
type outItem struct {
	name string
	expr expr
	typ  sqlType
}

func (r *derivation) derive() error {
	if err := r.readItems(); err != nil {
		return err
	}
	for _, condition := range []expr{r.query.where, r.query.having} {
		if condition == nil {
			continue
		}
		if _, err := r.scope.predicates(condition); err != nil {
			return err
		}
	}
	if len(aggregates(r.query.where)) > 0 {
		return refuse("Aggregate functions are not supported in WHERE clauses.")
	}
	var keys []string
	var err error
	switch {
	case len(r.query.groupBy) > 0:
		keys, err = r.grouped()
	case r.query.windowed:
		return refuse("WINDOW clause requires a GROUP BY clause.")
	case r.query.having != nil:
		return refuse("HAVING clause requires a GROUP BY clause.")
	default:
		for _, item := range r.items {
			if len(aggregates(item.expr)) > 0 {
				return refuse("Use of aggregate function requires a GROUP BY clause. Aggregate function(s): %s", aggregates(item.expr)[0].name)
			}
		}
		keys, err = r.ungrouped()
	}
	if err != nil {
		return err
	}
	r.arrange(keys)
	return nil
}

// readItems names and types the SELECT list.
func (r *derivation) readItems() error {
	for _, item := range r.query.items {
		if item.star {
			if r.query.join != nil {
				return beyond("SELECT * over a join")
			}
			for _, col := range r.left.columns {
				r.items = append(r.items, outItem{col.name, columnRef{"", col.name}, col.typ})
			}
			continue
		}
		t, err := r.scope.typeOf(item.expr)
		if err != nil {
			return err
		}
		if t.base == typeNull {
			return refuse("Can't infer a type of null. Please explicitly cast it to a required type.")
		}
		name := item.alias
		if name == "" {
			ref, ok := item.expr.(columnRef)
			if !ok {
				return beyond("an expression without a name in the SELECT list of a persistent query")
			}
			name = ref.name
		}
		r.items = append(r.items, outItem{name, item.expr, t})
	}
	return nil
}

// named returns the name under which an expression is projected.
func (r *derivation) named(e expr) (string, bool) {
	want := r.identity(e)
	i := slices.IndexFunc(r.items, func(item outItem) bool { return r.identity(item.expr) == want })
	if i < 0 {
		return "", false
	}
	return r.items[i].name, true
}

// identity writes an expression so that equal ones look alike; with two sources
// a column says which one it is of.
func (r *derivation) identity(e expr) string {
	if ref, ok := e.(columnRef); ok && r.query.join != nil {
		for _, from := range r.scope.sources {
			if (ref.qualifier == "" || ref.qualifier == from.alias) && from.src.column(ref.name) >= 0 {
				return from.alias + "." + ref.name
			}
		}
	}
	return textOf(e)
}

// missingKey is the refusal of a projection without its key.
func missingKey(what string) error {
	return refuse("Key missing from projection. The query used to build the source must include %s in its projection.", what)
}

// grouped checks an aggregation and returns the names of its key columns.
func (r *derivation) grouped() ([]string, error) {
	q := r.query
	switch {
	case q.partitionBy != nil:
		return nil, refuse("Only one of PARTITION BY or GROUP BY can be used.")
	case q.join != nil:
		return nil, beyond("GROUP BY over a join")
	case q.windowed && r.table:
		return nil, refuse("WINDOW clause is only supported for stream sources.")
	}
	grouping := make([]string, len(q.groupBy))
	for i, e := range q.groupBy {
		if len(aggregates(e)) > 0 {
			return nil, refuse("GROUP BY does not support aggregate functions.")
		}
		if _, err := r.scope.typeOf(e); err != nil {
			return nil, err
		}
		grouping[i] = textOf(e)
	}
	any := false
	check := func(e expr) error {
		var bad error
		walk(e, func(e expr) bool {
			switch e := e.(type) {
			case call:
				known, undoable := isAggregate(e.name)
				if !known {
					break
				}
				any = true
				if r.table && !undoable {
					bad = refuse("The aggregation function(s) (%s) cannot be applied to a table source, only to a stream source.", e.name)
				}
				for _, arg := range e.args {
					if len(aggregates(arg)) > 0 {
						bad = refuse("Aggregate functions can not be nested: %s", e.name)
					}
				}
				return false
			case columnRef:
				if !slices.Contains(grouping, textOf(e)) && !isWindowBound(e.name) {
					bad = refuse("Non-aggregate SELECT expression(s) not part of GROUP BY: %s. Either add the column(s) to the GROUP BY or remove them from the SELECT.", e.name)
				}
			}
			return !slices.Contains(grouping, textOf(e))
		})
		return bad
	}
	for _, item := range r.items {
		if err := check(item.expr); err != nil {
			return nil, err
		}
	}
	if q.having != nil {
		if err := check(q.having); err != nil {
			return nil, err
		}
	}
	if !any {
		return nil, refuse("GROUP BY requires aggregate functions in either the SELECT or HAVING clause.")
	}
	var keys []string
	for _, e := range q.groupBy {
		name, ok := r.named(e)
		if !ok {
			return nil, missingKey("the grouping expression(s)")
		}
		keys = append(keys, name)
	}
	r.table = true
	return keys, nil
}

// ungrouped checks a projection and returns the names of its key columns.
func (r *derivation) ungrouped() ([]string, error) {
	q := r.query
	switch {
	case q.join != nil:
		if q.partitionBy != nil {
			return nil, beyond("PARTITION BY over a join")
		}
		return r.joined()
	case q.partitionBy != nil:
		if r.table {
			return nil, refuse("PARTITION BY is not supported for TABLE objects.")
		}
		if _, err := r.scope.typeOf(q.partitionBy); err != nil {
			return nil, err
		}
		name, ok := r.named(q.partitionBy)
		if !ok {
			return nil, missingKey("the partitioning expression")
		}
		return []string{name}, nil
	}
	return r.kept(r.scope.sources[0])
}

// kept returns the names of the key columns of a source, all of which must be in
// the projection.
func (r *derivation) kept(from scopeSource) ([]string, error) {
	var keys []string
	for _, key := range from.src.keys() {
		name, ok := r.named(columnRef{from.alias, key})
		if !ok && r.query.join == nil {
			name, ok = r.named(columnRef{"", key})
		}
		if !ok {
			return nil, missingKey("the key column `" + key + "`")
		}
		keys = append(keys, name)
	}
	return keys, nil
}

// joined checks a join of two sources.
func (r *derivation) joined() ([]string, error) {
	j := r.query.join
	left, right := r.scope.sources[0], r.scope.sources[1]
	on := [2]expr{j.leftOn, j.rightOn}
	if r.side(on[0]) == right.alias && r.side(on[1]) == left.alias {
		on[0], on[1] = on[1], on[0]
	}
	if r.side(on[0]) != left.alias || r.side(on[1]) != right.alias {
		return nil, refuse("Invalid join condition: each side must name columns of one of the sources.")
	}
	lt, err := r.scope.typeOf(on[0])
	if err != nil {
		return nil, err
	}
	rt, err := r.scope.typeOf(on[1])
	if err != nil {
		return nil, err
	}
	if lt.String() != rt.String() {
		return nil, refuse("Invalid join condition: types don't match. Got %s and %s", lt, rt)
	}
	if !right.src.isTable() {
		if left.src.isTable() {
			return nil, refuse("Invalid join order: table-stream joins are not supported; only stream-table joins.")
		}
		return nil, refuse("Stream-Stream joins must have a WITHIN clause specified.")
	}
	rightKey := right.src.keys()
	ref, isRef := on[1].(columnRef)
	onKey := isRef && len(rightKey) == 1 && ref.name == rightKey[0]
	leftRef, isRef := on[0].(columnRef)
	leftKey := left.src.keys()
	byLeftKey := isRef && len(leftKey) == 1 && leftRef.name == leftKey[0]
	apart := left.src.partitions != 0 && right.src.partitions != 0 && left.src.partitions != right.src.partitions
	partitions := refuse("Can't join `%s` with `%s` since the number of partitions don't match. `%s` partitions = %d; `%s` partitions = %d. Please repartition either one so that the number of partitions match.",
		left.src.name, right.src.name, left.src.name, left.src.partitions, right.src.name, right.src.partitions)
	switch {
	case !left.src.isTable() && !onKey:
		return nil, refuse("Invalid join condition: stream-table joins require to join on the table's primary key.")
	case !left.src.isTable() && j.kind != "INNER" && j.kind != "LEFT":
		return nil, refuse("Invalid join type: %s not supported for stream-table join.", strings.ToLower(j.kind))
	case !left.src.isTable() && byLeftKey && apart:
		return nil, partitions
	case !onKey:
		return nil, refuse("Invalid join condition: foreign-key table-table joins require to join on the primary key of the right input table.")
	case left.src.isTable() && !byLeftKey: // a foreign key
		if j.kind != "INNER" && j.kind != "LEFT" {
			return nil, refuse("Invalid join type: %s-outer join not supported for foreign-key table-table join.", strings.ToLower(j.kind))
		}
		return r.kept(left)
	case left.src.isTable() && apart:
		return nil, partitions
	}
	for _, e := range on {
		if name, ok := r.named(e); ok {
			return []string{name}, nil
		}
	}
	return nil, missingKey("the join column(s)")
}

// side returns the alias of the source that an expression is of, or nothing.
func (r *derivation) side(e expr) string {
	found := make(map[string]bool)
	walk(e, func(e expr) bool {
		if ref, ok := e.(columnRef); ok {
			for _, from := range r.scope.sources {
				if (ref.qualifier == "" || ref.qualifier == from.alias) && from.src.column(ref.name) >= 0 {
					found[from.alias] = true
				}
			}
		}
		return true
	})
	if len(found) != 1 {
		return ""
	}
	for alias := range found {
		return alias
	}
	return ""
}

// arrange puts the key first, then the bounds of the window, then the values.
func (r *derivation) arrange(keys []string) {
	for _, key := range keys {
		i := slices.IndexFunc(r.items, func(item outItem) bool { return item.name == key })
		r.columns = append(r.columns, sourceColumn{key, r.items[i].typ, true})
	}
	if r.query.windowed {
		for _, bound := range []string{windowStartName, windowEndName} {
			r.columns = append(r.columns, sourceColumn{bound, sqlType{base: typeBigint}, true})
		}
	}
	for _, item := range r.items {
		if !slices.Contains(keys, item.name) {
			r.columns = append(r.columns, sourceColumn{item.name, item.typ, false})
		}
	}
}
