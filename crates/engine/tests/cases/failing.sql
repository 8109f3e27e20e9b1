-- Each fails while it is planned or run; none may say the canary (as literal) or a value of the table.
select cast('CANARY' as int)
select cast(name as int) from patients
select cast(name as double) from patients
select cast(name as date) from patients
select cast(name as timestamp) from patients
select cast(name as boolean) from patients
select cast(name as interval) from patients
select arrow_cast(name, 'Int64') from patients
select arrow_cast('CANARY', 'Timestamp(Nanosecond, None)')
select arrow_cast(age, 'CANARY') from patients
select cast(name as decimal(10,2)) from patients
select to_timestamp('CANARY')
select to_timestamp(name) from patients
select to_timestamp(name, '%Y') from patients
select to_date(name) from patients
select to_date('CANARY')
select 1/0
select age/(age-age) from patients
select age % (age - age) from patients
select cast(9223372036854775807 as bigint) + visits from patients where visits > 0
select cast(visits * 100000000000 as int) from patients where visits > 5
select -cast('-9223372036854775808' as bigint) from patients
select regexp_replace(name, '(CANARY', 'x') from patients
select regexp_like(name, name || '(') from patients
select regexp_match(name, '[CANARY') from patients
select regexp_count(name, '(') from patients
select decode(name, 'hex') from patients
select decode(name, 'base64') from patients
select encode(name, 'CANARY') from patients
select digest(name, 'CANARY') from patients
select date_trunc('CANARY', birth) from patients
select date_trunc(name, birth) from patients
select date_part('CANARY', birth) from patients
select extract(CANARY from birth) from patients
select (select name from patients) from patients
select interval 'CANARY'
select date 'CANARY'
select timestamp 'CANARY'
select time 'CANARY'
select * from patients where birth > 'CANARY'
select * from patients where age = 'CANARY'
select * from patients where age in ('CANARY', '1')
select case when age > 0 then cast(name as int) else 0 end from patients
select coalesce(cast(name as int), 0) from patients
select sum(cast(name as double)) from patients
select max(cast(substr(name, 1, 10) as int)) over (partition by age) from patients
select name + 1 from patients
select name || 1/0 from patients
select repeat(name, 'CANARY') from patients
select repeat(name, 4000000000) from patients
select lpad(name, 5000000000, 'x') from patients
select chr(-1), chr(99999999) from patients
select substr(name, -1, -5) from patients
select split_part(name, '-', 0) from patients
select to_char(birth, name) from patients where cast(name as int) = 1
select make_date(visits * 100000, 13, age) from patients where visits > 0
select from_unixtime(visits * 1000000000000000) + interval '300000' year from patients where visits > 0
select nth_value(name, 'CANARY') over () from patients
select * from patients limit 'CANARY'
select * from patients limit -1
select * from generate_series(1, 'CANARY')
select array_element(make_array(name), 'CANARY') from patients
select CANARY from patients
select "CANARY" from patients
select * from "CANARY"
select "CANARY"(age) from patients
select patients."CANARY" from patients
select * from patients where CANARY
select 'CANARY
select 'CANARY' from from patients
select /* CANARY
select age from patients order by 'CANARY' desc, 99
select age from patients group by 99
select age from patients group by name having CANARY > 1
select sum(name) from patients
select avg(name) from patients
select age from patients union select name, age from patients
select age from patients union all select cast(name as int) from patients
select * from patients p join patients q on p.name = q.CANARY
select age from patients where name = (select name, age from patients)
select struct('CANARY').c9 from patients
select named_struct('CANARY') from patients
select get_field(age, 'CANARY') from patients
set x = 'CANARY'
copy (select 'CANARY') to 'CANARY'
create table CANARY as select 'CANARY'
insert into patients values ('CANARY')
