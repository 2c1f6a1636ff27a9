// All parts in one place: `import { Button, Table } from '../ui/index.js'`.
export { Badge, Button, ButtonLink, Card, Copy, Empty, Facts, Failure, Figure, Loading, Meter, PageHead, Progress, Tabs } from './basics.js';
export { Chart } from './chart.js';
export { Confirm, Dialog } from './dialogs.js';
export { Field, Form, errorOf } from './forms.js';
export { announce, useAction, useAlive, useEvery, useList, useLoad, useSettled, whole } from './hooks.js';
export { Icon } from './icons.js';
export { Table } from './table.js';
